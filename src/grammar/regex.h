// The regular part of ECMA 262's regular expressions, as JSON schemas use them (with the flag u): classes, groups,
// alternatives, counts, anchors. What is not regular or not known (look-around, back references, word boundaries,
// properties of Unicode) is refused by name.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "grammar/char_dfa.h"
#include "grammar/expressions.h"

namespace loadline::grammar {

class Regex {
 public:
  // Throws Error(BadInput) that says where and what.
  explicit Regex(std::string_view pattern);

  // The texts that match: as a whole, or somewhere in them. Throws Error(BadInput) where that needs too many states.
  [[nodiscard]] CharDfa whole() const { return compile(false); }
  [[nodiscard]] CharDfa anywhere() const { return compile(true); }

  // The texts that match as a whole. Needs few states where `whole` needs many.
  NodeId expression(Expressions& out) const;

  struct Part {
    enum class Kind : std::uint8_t { Set, Sequence, Choice, Repeat, Start, End };
    Kind kind = Kind::Sequence;
    std::uint32_t least = 0;
    std::uint32_t most = 0;
    CodePointSet set;
    std::vector<std::uint32_t> children;  // places of earlier parts
  };

 private:
  [[nodiscard]] CharDfa compile(bool anywhere) const;
  NodeId write(Expressions& out, std::uint32_t part) const;

  std::vector<Part> parts_;
  std::uint32_t root_ = 0;
};

}  // namespace loadline::grammar
