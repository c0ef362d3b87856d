// The functions that libfmt has compiled, for a program that is linked without it (portable.cmake): those of fmt 9 that
// ours call.
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
template std::locale detail::locale_ref::get<std::locale>() const;
template detail::thousands_sep_result<char> detail::thousands_sep_impl<char>(detail::locale_ref);
template char detail::decimal_point_impl<char>(detail::locale_ref);
FMT_END_NAMESPACE
