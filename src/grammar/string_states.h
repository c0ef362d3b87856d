// The inside of a JSON string, byte by byte, from behind its opening quote to its closing one (RFC 8259, section 7).
// Half a surrogate pair is refused: it is no character. Knows no lengths; who counts characters does so at kBoundary.
#pragma once

#include <array>
#include <cstdint>

namespace loadline::grammar {

enum StringState : std::uint8_t {
  kBoundary,      // between characters
  kEscape,        // behind a backslash
  kHex1,          // \u: four digits to come
  kHex1D,         // \uD
  kHex2,          // three to come
  kHex3,          // two to come
  kHex4,          // one to come
  kHigh3,         // \uD8 to \uDB: half a pair, two digits to come
  kHigh4,         // one
  kLowBackslash,  // the other half must follow
  kLowU,
  kLow1,
  kLow2,
  kTail1,   // UTF-8: one more byte
  kTail2,   // two
  kTail3,   // three
  kTailE0,  // behind E0
  kTailED,
  kTailF0,
  kTailF4,
  kClosed,
  kStringStates,  // how many
  kRefused = 0xFF,
};

using StringTable = std::array<std::array<std::uint8_t, 256>, kStringStates>;

constexpr StringTable make_string_table() {
  StringTable table{};
  for (auto& row : table) row.fill(kRefused);
  const auto set = [&](std::uint8_t from, int first, int last, std::uint8_t to) {
    for (int byte = first; byte <= last; ++byte) table[from][static_cast<std::size_t>(byte)] = to;
  };
  const auto hex = [&](std::uint8_t from, std::uint8_t to) {
    set(from, '0', '9', to);
    set(from, 'a', 'f', to);
    set(from, 'A', 'F', to);
  };
  set(kBoundary, 0x20, 0x7F, kBoundary);
  set(kBoundary, '"', '"', kClosed);
  set(kBoundary, '\\', '\\', kEscape);
  set(kBoundary, 0xC2, 0xDF, kTail1);
  set(kBoundary, 0xE0, 0xE0, kTailE0);
  set(kBoundary, 0xE1, 0xEF, kTail2);
  set(kBoundary, 0xED, 0xED, kTailED);
  set(kBoundary, 0xF0, 0xF0, kTailF0);
  set(kBoundary, 0xF1, 0xF3, kTail3);
  set(kBoundary, 0xF4, 0xF4, kTailF4);
  for (const char c : {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'}) set(kEscape, c, c, kBoundary);
  set(kEscape, 'u', 'u', kHex1);
  hex(kHex1, kHex2);
  set(kHex1, 'd', 'd', kHex1D);
  set(kHex1, 'D', 'D', kHex1D);
  set(kHex1D, '0', '7', kHex3);
  set(kHex1D, '8', '9', kHigh3);
  set(kHex1D, 'a', 'b', kHigh3);
  set(kHex1D, 'A', 'B', kHigh3);
  hex(kHex2, kHex3);
  hex(kHex3, kHex4);
  hex(kHex4, kBoundary);
  hex(kHigh3, kHigh4);
  hex(kHigh4, kLowBackslash);
  set(kLowBackslash, '\\', '\\', kLowU);
  set(kLowU, 'u', 'u', kLow1);
  set(kLow1, 'd', 'd', kLow2);
  set(kLow1, 'D', 'D', kLow2);
  set(kLow2, 'c', 'f', kHex3);
  set(kLow2, 'C', 'F', kHex3);
  set(kTail1, 0x80, 0xBF, kBoundary);
  set(kTail2, 0x80, 0xBF, kTail1);
  set(kTail3, 0x80, 0xBF, kTail2);
  set(kTailE0, 0xA0, 0xBF, kTail1);
  set(kTailED, 0x80, 0x9F, kTail1);
  set(kTailF0, 0x90, 0xBF, kTail2);
  set(kTailF4, 0x80, 0x8F, kTail2);
  return table;
}

// [state][byte]: the next state, or kRefused.
inline constexpr StringTable kStringTable = make_string_table();

}  // namespace loadline::grammar
