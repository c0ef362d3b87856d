#include "cli/option.h"

#include <fmt/format.h>

#include <charconv>
#include <type_traits>

#include "base/error.h"
#include "base/text.h"
#include "cli/number.h"

namespace loadline::cli {
namespace {

template <typename T>
constexpr bool kIsList = false;
template <typename T>
constexpr bool kIsList<std::vector<T>> = true;

template <typename T>
T whole_number(std::string_view flag, std::string_view text, const Traits& traits) {
  using Limits = std::numeric_limits<T>;
  // In 64 bits with a sign, where uint64's upper half does not fit; nobody needs so large a number.
  const std::int64_t least =
      std::max(traits.least, std::is_unsigned_v<T> ? 0 : static_cast<std::int64_t>(Limits::min()));
  const std::int64_t most =
      sizeof(T) < 8 ? std::min(traits.most, static_cast<std::int64_t>(Limits::max())) : traits.most;
  const bool digits = text.find_first_not_of("0123456789", text.starts_with('-') ? 1 : 0) == std::string_view::npos;
  if (text.empty() || text == "-" || !digits) {
    throw bad_input(fmt::format("{}: \"{}\" is not a whole number", flag, printable(text)));
  }
  std::int64_t value = 0;
  if (!is_number(text, value) || value < least || value > most) {
    throw bad_input(fmt::format("{}: {} is out of range; it can be {} to {}", flag, printable(text), least, most));
  }
  return static_cast<T>(value);
}

template <typename T>
T read_value(std::string_view flag, std::string_view text, const Traits& traits) {
  if (text.empty() && !traits.may_be_empty) {
    throw bad_input(fmt::format("{} was given an empty value", flag),
                    "Leave it out, or check the variable it came from.");
  }
  if constexpr (std::is_same_v<T, std::string>) {
    return std::string(text);
  } else if constexpr (std::is_integral_v<T>) {
    return whole_number<T>(flag, text, traits);
  } else {
    T value{};
    double wide = 0;
    if (is_number(text, value)) return value;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), wide);
    const bool out_of_range = end == text.data() + text.size() && !text.empty();
    throw bad_input(out_of_range ? fmt::format("{}: {} is out of range", flag, printable(text))
                                 : fmt::format("{}: \"{}\" is not a number", flag, printable(text)));
  }
}

template <typename T>
std::string shown(const T& value) {
  if constexpr (kIsList<T>) {
    std::string text;
    for (const auto& item : value) text += fmt::format("{}{}", text.empty() ? "" : ",", item);
    return text;
  } else {
    return fmt::format("{}", value);
  }
}

}  // namespace

Option::Option(std::string_view names, Target target, std::string description, Traits traits)
    : target_(target), description_(std::move(description)), traits_(std::move(traits)) {
  while (!names.empty()) {
    const std::size_t comma = std::min(names.find(','), names.size());
    const std::string name(names.substr(0, comma));
    if (name.starts_with('-')) {
      flags_.push_back(name);
    } else {
      position_ = name;
    }
    names.remove_prefix(std::min(comma + 1, names.size()));
  }
  if (traits_.show_default) default_ = std::visit([](auto* value) { return shown(*value); }, target_);
}

void Option::take(std::string_view flag, std::string_view value) {
  std::visit(
      [&](auto* target) {
        using T = std::remove_pointer_t<decltype(target)>;
        if constexpr (std::is_same_v<T, bool>) {
          *target = sets_;
        } else if constexpr (kIsList<T>) {
          if (times_ == 0) target->clear();  // what was there is the default
          std::string_view rest = value;
          while (true) {
            const std::size_t end =
                traits_.separator == 0 ? rest.size() : std::min(rest.find(traits_.separator), rest.size());
            target->push_back(read_value<typename T::value_type>(flag, rest.substr(0, end), traits_));
            if (end == rest.size()) break;
            rest.remove_prefix(end + 1);
          }
        } else {
          *target = read_value<T>(flag, value, traits_);
        }
      },
      target_);
  ++times_;
}

Option& Command::option(std::string_view names, Target target, std::string description, Traits traits) {
  return options_.emplace_back(names, target, std::move(description), std::move(traits));
}

Option& Command::flag(std::string_view names, bool& target, std::string description, Traits traits, bool value) {
  Option& flag = options_.emplace_back(names, Target(&target), std::move(description), std::move(traits));
  flag.set_sets(value);
  return flag;
}

}  // namespace loadline::cli
