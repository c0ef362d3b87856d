#include "cli/prompt.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace loadline::cli {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// What the character behind a backslash stands for.
std::optional<char> simple_escape(char letter) {
  switch (letter) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case '\\':
    case '\'':
    case '"': return letter;
    default: return std::nullopt;
  }
}

// Two hexadecimal digits.
std::optional<char> hex_byte(std::string_view digits) {
  unsigned value = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != 2 || problem != std::errc() || end != digits.data() + 2) return std::nullopt;
  return static_cast<char>(value);
}

}  // namespace

std::string with_escapes(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\' || at + 1 == text.size()) {
      out += text[at];
    } else if (const auto simple = simple_escape(text[at + 1])) {
      out += *simple;
      at += 1;
    } else if (const auto byte = text[at + 1] == 'x' ? hex_byte(text.substr(at + 2, 2)) : std::nullopt) {
      out += *byte;
      at += 3;
    } else {
      out += '\\';
    }
  }
  return out;
}

std::string file_text(std::string text) {
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  if (text.ends_with('\n')) {
    text.pop_back();
    if (text.ends_with('\r')) text.pop_back();
  }
  return text;
}

void require_utf8(std::string_view prompt) {
  std::size_t valid = 0;
  while (valid < prompt.size()) {
    const std::size_t length = utf8_length(prompt.substr(valid));
    if (length == 0) break;
    valid += length;
  }
  if (valid == prompt.size()) return;
  // The byte order marks of UTF-16; shells of Windows write files so.
  const bool utf16 = prompt.starts_with("\xFF\xFE") || prompt.starts_with("\xFE\xFF");
  throw bad_input(
      fmt::format("the prompt is not valid UTF-8: byte {} of {} belongs to no character", valid + 1, prompt.size()),
      utf16 ? "It looks like UTF-16; convert it first, as with `iconv -f UTF-16 -t UTF-8`."
            : "Convert the text to UTF-8 first.");
}

}  // namespace loadline::cli
