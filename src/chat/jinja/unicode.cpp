#include "chat/jinja/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "base/text.h"

namespace loadline::chat::jinja {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

struct Mapping {
  char32_t first;
  char32_t last;
  std::uint32_t stride;
  std::int32_t difference;
};

struct Expansion {
  char32_t from;
  std::array<char32_t, 3> to;  // zeros at the end
};

#include "chat/jinja/unicode_tables.inc"

template <std::size_t N>
bool in_ranges(const Range (&ranges)[N], char32_t c) {
  const auto* const at =
      std::upper_bound(std::begin(ranges), std::end(ranges), c, [](char32_t v, const Range& r) { return v < r.first; });
  return at != std::begin(ranges) && c <= std::prev(at)->last;
}

template <std::size_t N, std::size_t M>
void append_mapped(std::string& out, const Mapping (&mappings)[N], const Expansion (&several)[M], char32_t c) {
  const auto* const expansion = std::lower_bound(std::begin(several), std::end(several), c,
                                                 [](const Expansion& e, char32_t v) { return e.from < v; });
  if (expansion != std::end(several) && expansion->from == c) {
    for (const char32_t unit : expansion->to) {
      if (unit != 0) append_character(out, unit);
    }
    return;
  }
  // Mappings of stride 2 may overlap, so that more than the nearest one is looked at.
  const auto* at = std::upper_bound(std::begin(mappings), std::end(mappings), c,
                                    [](char32_t v, const Mapping& m) { return v < m.first; });
  for (int tries = 0; tries < 4 && at != std::begin(mappings); ++tries) {
    --at;
    if (c <= at->last && (c - at->first) % at->stride == 0) {
      append_character(out, static_cast<char32_t>(static_cast<std::int32_t>(c) + at->difference));
      return;
    }
  }
  append_character(out, c);
}

void append_lower(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= U'A' && c <= U'Z' ? c + 32 : c);
  } else {
    append_mapped(out, kToLower, kToLowerSeveral, c);
  }
}

void append_upper(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= U'a' && c <= U'z' ? c - 32 : c);
  } else {
    append_mapped(out, kToUpper, kToUpperSeveral, c);
  }
}

void append_title(std::string& out, char32_t c) {
  if (c < 0x80) {
    append_upper(out, c);
  } else {
    append_mapped(out, kToTitle, kToTitleSeveral, c);
  }
}

constexpr char32_t kSigma = 0x3A3;

// Whether the capital sigma that begins at `begin` and ends at `end` is the last letter of a word (Unicode 3.13,
// Final_Sigma).
bool is_final_sigma(std::string_view text, std::size_t begin, std::size_t end) {
  bool cased_before = false;
  for (std::size_t position = begin; position > 0;) {
    position = previous_position(text, position);
    std::size_t next = position;
    const char32_t c = next_character(text, next);
    if (in_ranges(kCaseIgnorable, c)) continue;
    cased_before = is_cased(c);
    break;
  }
  if (!cased_before) return false;
  for (std::size_t position = end; position < text.size();) {
    const char32_t c = next_character(text, position);
    if (in_ranges(kCaseIgnorable, c)) continue;
    return !is_cased(c);
  }
  return true;
}

void append_lower_in(std::string& out, std::string_view text, std::size_t begin, std::size_t end, char32_t c) {
  if (c == kSigma) {
    append_character(out, is_final_sigma(text, begin, end) ? 0x3C2 : 0x3C3);
  } else {
    append_lower(out, c);
  }
}

}  // namespace

char32_t next_character(std::string_view text, std::size_t& position) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) {
    ++position;
    return lead;
  }
  const std::size_t length = utf8_length(text.substr(position, 4));
  char32_t out = 0xFFFD;
  if (length == 2) out = (lead & 0x1FU) << 6 | (byte(1) & 0x3FU);
  if (length == 3) out = (lead & 0x0FU) << 12 | (byte(1) & 0x3FU) << 6 | (byte(2) & 0x3FU);
  if (length == 4) out = (lead & 0x07U) << 18 | (byte(1) & 0x3FU) << 12 | (byte(2) & 0x3FU) << 6 | (byte(3) & 0x3FU);
  position += length == 0 ? 1 : length;
  return out;
}

std::size_t previous_position(std::string_view text, std::size_t position) {
  for (std::size_t length = 1; length <= 4 && length <= position; ++length) {
    if (utf8_length(text.substr(position - length, length)) == length) return position - length;
  }
  return position - 1;
}

void append_character(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t position = 0; position < text.size(); ++count) next_character(text, position);
  return count;
}

std::size_t offset_of(std::string_view text, std::size_t index) {
  std::size_t position = 0;
  for (; index > 0 && position < text.size(); --index) next_character(text, position);
  return position;
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t c) {
  if (c < 0x80) return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z');
  return in_ranges(kAlpha, c);
}
bool is_decimal(char32_t c) { return c < 0x80 ? c >= U'0' && c <= U'9' : in_ranges(kDecimal, c); }
bool is_digit(char32_t c) { return is_decimal(c) || in_ranges(kDigitOnly, c); }
bool is_numeric(char32_t c) { return is_digit(c) || in_ranges(kNumericOnly, c); }
bool is_printable(char32_t c) { return c < 0x7F ? c >= 0x20 : !in_ranges(kNotPrintable, c); }
bool is_lower(char32_t c) { return c < 0x80 ? c >= U'a' && c <= U'z' : in_ranges(kLower, c); }
bool is_upper(char32_t c) { return c < 0x80 ? c >= U'A' && c <= U'Z' : in_ranges(kUpper, c); }
bool is_title(char32_t c) { return c >= 0x80 && in_ranges(kTitleOnly, c); }

std::string to_lower(std::string_view text) {
  std::string out;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t begin = position;
    const char32_t c = next_character(text, position);
    append_lower_in(out, text, begin, position, c);
  }
  return out;
}

std::string to_upper(std::string_view text) {
  std::string out;
  for (std::size_t position = 0; position < text.size();) append_upper(out, next_character(text, position));
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t begin = position;
    const char32_t c = next_character(text, position);
    if (inside) {
      append_lower_in(out, text, begin, position, c);
    } else {
      append_title(out, c);
    }
    inside = is_cased(c);
  }
  return out;
}

std::string capitalized(std::string_view text) {
  std::string out;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t begin = position;
    const char32_t c = next_character(text, position);
    if (begin == 0) {
      append_title(out, c);
    } else {
      append_lower_in(out, text, begin, position, c);
    }
  }
  return out;
}

std::string swapped_case(std::string_view text) {
  std::string out;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t begin = position;
    const char32_t c = next_character(text, position);
    if (is_upper(c)) {
      append_lower_in(out, text, begin, position, c);
    } else if (is_lower(c)) {
      append_upper(out, c);
    } else {
      append_character(out, c);
    }
  }
  return out;
}

std::string folded(std::string_view text) {
  std::string out;
  for (std::size_t position = 0; position < text.size();) {
    append_mapped(out, kFolded, kFoldedSeveral, next_character(text, position));
  }
  return out;
}

std::string_view trimmed_left(std::string_view text) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t next = begin;
    if (!is_space(next_character(text, next))) break;
    begin = next;
  }
  return text.substr(begin);
}

std::string_view trimmed_right(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    const std::size_t begin = previous_position(text, end);
    std::size_t next = begin;
    if (!is_space(next_character(text, next))) break;
    end = begin;
  }
  return text.substr(0, end);
}

std::size_t line_end_length(std::string_view text, std::size_t position) {
  std::size_t next = position;
  const char32_t c = next_character(text, next);
  if (c == U'\r' && next < text.size() && text[next] == '\n') return 2;
  const bool ends = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  return ends ? next - position : 0;
}

std::u32string characters_of(std::string_view text) {
  std::u32string out;
  for (std::size_t position = 0; position < text.size();) out += next_character(text, position);
  return out;
}

std::string bytes_of(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) append_character(out, c);
  return out;
}

}  // namespace loadline::chat::jinja
