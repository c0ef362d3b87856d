// Numbers in arguments: all of a text or nothing.
#pragma once

#include <charconv>
#include <string_view>
#include <system_error>

namespace loadline::cli {

// False where `text` is no number, has something behind it, or is more than `value` can hold.
bool is_number(std::string_view text, auto& value) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size();
}

}  // namespace loadline::cli
