// Finding and replacing in text, in linear time whatever is looked for, and HTML escaping.
#pragma once

#include <string>
#include <string_view>

namespace loadline::chat::jinja {

// The first place of `what` at or after `from`, or npos.
std::size_t find_text(std::string_view text, std::string_view what, std::size_t from = 0);
// The last place, or npos.
std::size_t find_last_text(std::string_view text, std::string_view what);

// &, <, >, " and ' as entities (markupsafe's spelling).
std::string escaped(std::string_view text);

}  // namespace loadline::chat::jinja
