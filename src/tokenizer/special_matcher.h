// Finds tokens that are recognised as a whole, wherever they stand in a text, before anything else is done with it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {

// A search for many texts at once (Aho and Corasick, 1975), linear in the text whatever the texts sought are.
// Immutable after construction.
class SpecialMatcher {
 public:
  struct Pattern {
    std::string_view text;  // empty ones are ignored; of equal ones the least token counts
    Token token;
  };
  struct Match {
    std::size_t begin;
    std::size_t length;
    Token token;
  };
  // What the patterns may sum up to, in bytes; 20 times that is kept, and as much again while building.
  static constexpr std::size_t kMostBytes = std::size_t{8} << 20;

  // Throws Error(BadInput) when the patterns are longer together than kMostBytes.
  explicit SpecialMatcher(std::vector<Pattern> patterns);

  // The matches in `text`, in order and without overlap: from left to right the longest at each place.
  [[nodiscard]] std::vector<Match> find(std::string_view text) const;

  [[nodiscard]] Bytes resident_bytes() const { return Bytes(nodes_.capacity() * sizeof(Node)); }

 private:
  // The automaton reads text backwards over reversed patterns: then the longest pattern that ends the part read is the
  // longest that begins at this place, and one value a node tells it. Nodes are in breadth-first order, so the children
  // of one stand side by side, by byte.
  struct Node {
    std::uint32_t first_child = 0;
    std::uint32_t fail = 0;    // the node of the longest proper suffix that is in the tree
    std::uint32_t length = 0;  // of the longest pattern that ends here; 0: none
    Token token = -1;
    std::uint16_t children = 0;
    unsigned char byte = 0;
  };

  void build_tree(std::vector<Pattern>& patterns);
  void link_failures();
  [[nodiscard]] std::uint32_t child(std::uint32_t node, unsigned char byte) const;  // 0: none
  [[nodiscard]] std::uint32_t step(std::uint32_t node, unsigned char byte) const;

  std::vector<Node> nodes_;                     // [0] is the root; empty when there is no pattern
  std::array<std::uint32_t, 256> from_root_{};  // most steps start there
};

}  // namespace loadline::tokenizer
