#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/visible.h"

namespace loadline {
namespace {

std::uint8_t byte_at(std::string_view text, std::size_t index) { return static_cast<std::uint8_t>(text[index]); }

// The code point of a well-formed character.
std::uint32_t code_point(std::string_view character) {
  const std::uint8_t first = byte_at(character, 0);
  if (character.size() == 1) return first;
  std::uint32_t code = first & (0x7FU >> character.size());
  for (std::size_t i = 1; i < character.size(); ++i) code = (code << 6U) | (byte_at(character, i) & 0x3FU);
  return code;
}

// What is not a mark on the screen but moves, hides or orders others: C0 and C1 controls, which terminals take for
// commands; Unicode's Bidi_Control (UAX 9), which can make a line read as another; what separates lines; the byte order
// mark; tags, which are not shown at all.
bool is_control(std::uint32_t code) {
  if (code < 0x20 || (code >= 0x7F && code < 0xA0)) return true;
  if (code == 0x061C || code == 0x200E || code == 0x200F || code == 0xFEFF) return true;
  return (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) ||
         (code >= 0xE0000 && code <= 0xE007F);
}

std::string escaped(std::string_view character) {
  const std::uint32_t code = code_point(character);
  if (code < 0x100) {
    std::string shown;
    for (std::size_t i = 0; i < character.size(); ++i) shown += fmt::format("\\x{:02x}", byte_at(character, i));
    return shown;
  }
  return code < 0x10000 ? fmt::format("\\u{:04x}", code) : fmt::format("\\U{:08x}", code);
}

// Each character as it is or escaped; `keep` says which controls stay.
std::string shown(std::string_view text, std::size_t limit, std::string_view keep) {
  std::string shown;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = utf8_length(text.substr(at));
    const std::string_view character = text.substr(at, length == 0 ? 1 : length);
    if (at + character.size() > limit) return shown + "…";
    if (length == 0) {
      shown += fmt::format("\\x{:02x}", byte_at(character, 0));
    } else if (is_control(code_point(character)) && keep.find(character) == std::string_view::npos) {
      shown += escaped(character);
    } else {
      shown += character;
    }
    at += character.size();
  }
  return shown;
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const std::uint8_t first = byte_at(text, 0);
  if (first < 0x80) return 1;
  // Well-formed byte sequences: the Unicode Standard, table 3-7. Only the second byte's range depends on the first.
  std::size_t length = 0;
  std::uint8_t lowest = 0x80;
  std::uint8_t highest = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) lowest = 0xA0;
    if (first == 0xED) highest = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) lowest = 0x90;
    if (first == 0xF4) highest = 0x8F;
  }
  if (length == 0 || text.size() < length) return 0;
  if (byte_at(text, 1) < lowest || byte_at(text, 1) > highest) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if ((byte_at(text, i) & 0xC0U) != 0x80) return 0;
  }
  return length;
}

std::string printable(std::string_view text, std::size_t limit) { return shown(text, limit, ""); }

std::string printable_lines(std::string_view text) { return shown(text, std::string_view::npos, "\n\t"); }

std::string printable_json(std::string_view json) {
  std::string shown;
  for (std::size_t at = 0; at < json.size();) {
    const std::size_t length = std::max<std::size_t>(1, utf8_length(json.substr(at)));
    const std::string_view character = json.substr(at, length);
    at += length;
    const std::uint32_t code = code_point(character);
    if (code < 0x20 || !is_control(code)) {  // below it stand only the ends of lines between values
      shown += character;
    } else if (code < 0x10000) {
      shown += fmt::format("\\u{:04x}", code);
    } else {
      shown += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10U), 0xDC00 + (code & 0x3FFU));
    }
  }
  return shown;
}

std::string grouped(std::uint64_t number) {
  std::string digits = fmt::format("{}", number);
  for (std::size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, 1, ' ');
  }
  return digits;
}

}  // namespace loadline
