// The inside of a JSON string, byte by byte, from behind its opening quote to its closing one (RFC 8259, section 7).
// Half a surrogate pair is refused: it is no character. Knows no lengths; who counts characters does
// so at Boundary.
#pragma once

#include <array>
#include <cstdint>

namespace loadline::grammar {

struct StringState {
  enum Value : std::uint8_t {
    Boundary,      // between characters
    Escape,        // behind a backslash
    Hex1,          // \u: four digits to come
    Hex1D,         // \uD
    Hex2,          // three to come
    Hex3,          // two to come
    Hex4,          // one to come
    High3,         // \uD8 to \uDB: half a pair, two digits to come
    High4,         // one
    LowBackslash,  // the other half must follow
    LowU,
    Low1,
    Low2,
    Tail1,   // UTF-8: one more byte
    Tail2,   // two
    Tail3,   // three
    TailE0,  // behind E0
    TailED,
    TailF0,
    TailF4,
    Closed,
    Refused = 0xFF,
  };
};

inline constexpr std::uint8_t kStringStates = StringState::Closed + 1;

using StringTable = std::array<std::array<std::uint8_t, 256>, kStringStates>;

constexpr StringTable make_string_table() {
  using enum StringState::Value;
  StringTable table{};
  for (auto& row : table) row.fill(Refused);
  const auto set = [&](std::uint8_t from, int first, int last, std::uint8_t to) {
    for (int byte = first; byte <= last; ++byte) table[from][static_cast<std::size_t>(byte)] = to;
  };
  const auto hex = [&](std::uint8_t from, std::uint8_t to) {
    set(from, '0', '9', to);
    set(from, 'a', 'f', to);
    set(from, 'A', 'F', to);
  };
  set(Boundary, 0x20, 0x7F, Boundary);
  set(Boundary, '"', '"', Closed);
  set(Boundary, '\\', '\\', Escape);
  set(Boundary, 0xC2, 0xDF, Tail1);
  set(Boundary, 0xE0, 0xE0, TailE0);
  set(Boundary, 0xE1, 0xEF, Tail2);
  set(Boundary, 0xED, 0xED, TailED);
  set(Boundary, 0xF0, 0xF0, TailF0);
  set(Boundary, 0xF1, 0xF3, Tail3);
  set(Boundary, 0xF4, 0xF4, TailF4);
  for (const char c : {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'}) set(Escape, c, c, Boundary);
  set(Escape, 'u', 'u', Hex1);
  hex(Hex1, Hex2);
  set(Hex1, 'd', 'd', Hex1D);
  set(Hex1, 'D', 'D', Hex1D);
  set(Hex1D, '0', '7', Hex3);
  set(Hex1D, '8', '9', High3);
  set(Hex1D, 'a', 'b', High3);
  set(Hex1D, 'A', 'B', High3);
  hex(Hex2, Hex3);
  hex(Hex3, Hex4);
  hex(Hex4, Boundary);
  hex(High3, High4);
  hex(High4, LowBackslash);
  set(LowBackslash, '\\', '\\', LowU);
  set(LowU, 'u', 'u', Low1);
  set(Low1, 'd', 'd', Low2);
  set(Low1, 'D', 'D', Low2);
  set(Low2, 'c', 'f', Hex3);
  set(Low2, 'C', 'F', Hex3);
  set(Tail1, 0x80, 0xBF, Boundary);
  set(Tail2, 0x80, 0xBF, Tail1);
  set(Tail3, 0x80, 0xBF, Tail2);
  set(TailE0, 0xA0, 0xBF, Tail1);
  set(TailED, 0x80, 0x9F, Tail1);
  set(TailF0, 0x90, 0xBF, Tail2);
  set(TailF4, 0x80, 0x8F, Tail2);
  return table;
}

// [state][byte]: the next state, or StringState::Refused.
inline constexpr StringTable kStringTable = make_string_table();

}  // namespace loadline::grammar
