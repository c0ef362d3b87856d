// Deterministic automata over code points: what regular expressions, lengths and formats of JSON strings become before
// they are combined. They know nothing of bytes, escapes or tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/code_points.h"

namespace loadline::grammar {

// A value type. State 0 is the start; without states nothing is accepted. After `pruned` every state can still lead to
// acceptance.
struct CharDfa {
  struct Edge {
    CodePointRange on;
    std::uint32_t to = 0;
  };
  struct State {
    std::vector<Edge> edges;  // ascending, disjoint; what is on none of them is refused
    bool accepting = false;
  };
  std::vector<State> states;

  // More states than this are refused: combining two automata multiplies them.
  static constexpr std::size_t kMostStates = 20000;

  [[nodiscard]] bool accepts(std::u32string_view text) const;
  // Whether `state` accepts any text from here on.
  [[nodiscard]] bool is_free(std::uint32_t state) const;
  [[nodiscard]] bool empty() const { return states.empty(); }

  // Texts of `least` to `most` code points (kUnbounded: any number).
  static CharDfa of_length(std::uint32_t least, std::uint32_t most);
  // Exactly these texts.
  static CharDfa of_texts(const std::vector<std::u32string>& texts);

  // What both accept. Throws Error(BadInput) beyond kMostStates, as do the others.
  static CharDfa intersection(const CharDfa& a, const CharDfa& b);
  [[nodiscard]] CharDfa complement() const;
};

inline constexpr std::uint32_t kUnbounded = 0xFFFFFFFF;

// Removes the states from which nothing can be accepted, and those that cannot be reached.
CharDfa pruned(const CharDfa& dfa);
// Texts in which none of these occurs.
CharDfa texts_without(const std::vector<std::string_view>& never);

}  // namespace loadline::grammar
