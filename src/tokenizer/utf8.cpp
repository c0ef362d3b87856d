#include "tokenizer/utf8.h"

#include <cstdint>
#include <cstring>

namespace loadline::tokenizer {
namespace {

// A lead byte's number of continuation bytes, and the range its first one must lie in (which excludes overlong forms,
// surrogates and values above U+10FFFF). Unicode 15, table 3-7. Zero continuations for a byte that leads nothing.
struct Lead {
  std::size_t continuations;
  unsigned char low;
  unsigned char high;
};

Lead lead_of(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1, 0x80, 0xBF};
  if (byte >= 0xE0 && byte <= 0xEF) {
    const unsigned char low = byte == 0xE0 ? 0xA0 : 0x80;
    const unsigned char high = byte == 0xED ? 0x9F : 0xBF;
    return {2, low, high};
  }
  if (byte >= 0xF0 && byte <= 0xF4) {
    const unsigned char low = byte == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = byte == 0xF4 ? 0x8F : 0xBF;
    return {3, low, high};
  }
  return {0, 0, 0};
}

}  // namespace

Utf8Unit first_utf8_unit(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text.front());
  if (byte < 0x80) return {1, Utf8Kind::Character};
  Lead lead = lead_of(byte);
  if (lead.continuations == 0) return {1, Utf8Kind::Invalid};
  for (std::size_t i = 1; i <= lead.continuations; ++i) {
    if (i == text.size()) return {i, Utf8Kind::Unfinished};
    const auto next = static_cast<unsigned char>(text[i]);
    if (next < lead.low || next > lead.high) return {i, Utf8Kind::Invalid};
    lead.low = 0x80;
    lead.high = 0xBF;
  }
  return {lead.continuations + 1, Utf8Kind::Character};
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    // Eight ASCII bytes at a time: most of most texts.
    if (at + 8 <= text.size()) {
      std::uint64_t block = 0;
      std::memcpy(&block, text.data() + at, 8);
      if ((block & 0x8080808080808080U) == 0) {
        at += 8;
        continue;
      }
    }
    const Utf8Unit unit = first_utf8_unit(text.substr(at));
    if (unit.kind != Utf8Kind::Character) break;
    at += unit.length;
  }
  return at;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_prefix(text);
    out.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    out.append("\xEF\xBF\xBD");
    text.remove_prefix(first_utf8_unit(text).length);
  }
  return out;
}

}  // namespace loadline::tokenizer
