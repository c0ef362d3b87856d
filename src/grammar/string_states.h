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
  StringTable table{};
  for (auto& row : table) row.fill(StringState::Refused);
  const auto set = [&](std::uint8_t from, int first, int last, std::uint8_t to) {
    for (int byte = first; byte <= last; ++byte) table[from][static_cast<std::size_t>(byte)] = to;
  };
  const auto hex = [&](std::uint8_t from, std::uint8_t to) {
    set(from, '0', '9', to);
    set(from, 'a', 'f', to);
    set(from, 'A', 'F', to);
  };
  set(StringState::Boundary, 0x20, 0x7F, StringState::Boundary);
  set(StringState::Boundary, '"', '"', StringState::Closed);
  set(StringState::Boundary, '\\', '\\', StringState::Escape);
  set(StringState::Boundary, 0xC2, 0xDF, StringState::Tail1);
  set(StringState::Boundary, 0xE0, 0xE0, StringState::TailE0);
  set(StringState::Boundary, 0xE1, 0xEF, StringState::Tail2);
  set(StringState::Boundary, 0xED, 0xED, StringState::TailED);
  set(StringState::Boundary, 0xF0, 0xF0, StringState::TailF0);
  set(StringState::Boundary, 0xF1, 0xF3, StringState::Tail3);
  set(StringState::Boundary, 0xF4, 0xF4, StringState::TailF4);
  for (const char c : {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'}) set(StringState::Escape, c, c, StringState::Boundary);
  set(StringState::Escape, 'u', 'u', StringState::Hex1);
  hex(StringState::Hex1, StringState::Hex2);
  set(StringState::Hex1, 'd', 'd', StringState::Hex1D);
  set(StringState::Hex1, 'D', 'D', StringState::Hex1D);
  set(StringState::Hex1D, '0', '7', StringState::Hex3);
  set(StringState::Hex1D, '8', '9', StringState::High3);
  set(StringState::Hex1D, 'a', 'b', StringState::High3);
  set(StringState::Hex1D, 'A', 'B', StringState::High3);
  hex(StringState::Hex2, StringState::Hex3);
  hex(StringState::Hex3, StringState::Hex4);
  hex(StringState::Hex4, StringState::Boundary);
  hex(StringState::High3, StringState::High4);
  hex(StringState::High4, StringState::LowBackslash);
  set(StringState::LowBackslash, '\\', '\\', StringState::LowU);
  set(StringState::LowU, 'u', 'u', StringState::Low1);
  set(StringState::Low1, 'd', 'd', StringState::Low2);
  set(StringState::Low1, 'D', 'D', StringState::Low2);
  set(StringState::Low2, 'c', 'f', StringState::Hex3);
  set(StringState::Low2, 'C', 'F', StringState::Hex3);
  set(StringState::Tail1, 0x80, 0xBF, StringState::Boundary);
  set(StringState::Tail2, 0x80, 0xBF, StringState::Tail1);
  set(StringState::Tail3, 0x80, 0xBF, StringState::Tail2);
  set(StringState::TailE0, 0xA0, 0xBF, StringState::Tail1);
  set(StringState::TailED, 0x80, 0x9F, StringState::Tail1);
  set(StringState::TailF0, 0x90, 0xBF, StringState::Tail2);
  set(StringState::TailF4, 0x80, 0x8F, StringState::Tail2);
  return table;
}

// [state][byte]: the next state, or StringState::Refused.
inline constexpr StringTable kStringTable = make_string_table();

}  // namespace loadline::grammar
