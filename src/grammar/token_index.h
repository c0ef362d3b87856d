// TokenIndex: the tokens of a vocabulary as a tree of bytes, and what is known about them inside JSON strings whatever
// the grammar. Knows no grammar.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "grammar/expressions.h"
#include "tokenizer/tokenizer.h"

namespace loadline::grammar {

// A set of tokens, a bit each.
using TokenSet = std::span<std::uint64_t>;

inline void set_bit(TokenSet set, Token token) {
  set[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (token & 63);
}

// Immutable and thread-safe after construction.
class TokenIndex {
 public:
  // What a token is for a grammar.
  struct Entry {
    std::string text;   // its bytes; empty: it is never text
    bool ends = false;  // ends the generation: allowed exactly where the text is complete
  };
  explicit TokenIndex(const std::vector<Entry>& tokens);
  // Control, unknown and unused tokens are no text, but for control tokens that `is_mark` names by their texts, as
  // those which begin a call of a tool.
  static TokenIndex of(const tokenizer::Tokenizer& tokenizer,
                       const std::function<bool(std::string_view)>& is_mark = nullptr);

  // In the order in which a walk from the root meets them, so that what is below a node lies behind it.
  struct Node {
    std::uint32_t end = 0;     // the node behind all that are below this one
    std::uint32_t tokens = 0;  // those that end here begin in tokens() at this place
    std::uint16_t depth = 0;   // bytes from the root
    std::uint8_t byte = 0;     // the last of them
  };
  [[nodiscard]] std::span<const Node> nodes() const { return nodes_; }  // one more at the end
  [[nodiscard]] std::span<const Token> tokens_at(std::uint32_t node) const {
    return std::span(tokens_).subspan(nodes_[node].tokens, nodes_[node + 1].tokens - nodes_[node].tokens);
  }
  // Those that end here or below.
  [[nodiscard]] std::span<const Token> tokens_below(std::uint32_t node) const {
    return std::span(tokens_).subspan(nodes_[node].tokens, nodes_[nodes_[node].end].tokens - nodes_[node].tokens);
  }
  [[nodiscard]] std::uint32_t root_child(std::uint8_t byte) const { return root_children_[byte]; }  // 0: none
  [[nodiscard]] std::uint32_t deepest() const { return deepest_; }

  [[nodiscard]] std::uint32_t size() const { return size_; }
  [[nodiscard]] std::size_t words() const { return (size_ + 63) / 64; }
  [[nodiscard]] std::string_view text(Token token) const;
  [[nodiscard]] bool ends(Token token) const;
  [[nodiscard]] std::span<const Token> end_tokens() const { return end_tokens_; }

  // Tokens whose texts are whole characters, the last of which may only have begun.
  [[nodiscard]] std::span<const std::uint64_t> well_formed() const { return well_formed_; }
  // Tokens of ASCII alone.
  [[nodiscard]] std::span<const std::uint64_t> ascii() const { return ascii_; }
  // Those that have an ASCII byte in them: one by one, or as a set where there are many (is_frequent).
  [[nodiscard]] std::span<const Token> with(std::uint8_t byte) const {
    return std::span(with_).subspan(with_begins_[byte], with_begins_[byte + 1U] - with_begins_[byte]);
  }
  [[nodiscard]] std::span<const std::uint64_t> with_frequent(std::uint8_t byte) const {
    if (!is_frequent(byte)) return {};
    return std::span(with_frequent_).subspan(std::size_t{frequent_[byte]} * words() - words(), words());
  }
  [[nodiscard]] bool is_frequent(std::uint8_t byte) const { return frequent_[byte] != 0; }

  // Of a JSON string, from between two characters on.
  struct StringExit {
    std::uint32_t node = 0;        // where its closing quote is the last byte, or a node below that
    std::uint32_t characters = 0;  // before the quote
  };
  static constexpr std::uint32_t kLengthSteps = 24;
  // Tokens that stay inside, of at most so many characters, begun ones included. Above kLengthSteps: of any number.
  [[nodiscard]] std::span<const std::uint64_t> inside(std::uint32_t characters) const {
    return std::span(inside_).subspan(std::min(characters - 1, kLengthSteps) * words(), words());
  }
  // Of `inside` beyond kLengthSteps, those of more characters than that, the longest first.
  struct LongToken {
    std::uint32_t characters = 0;
    Token token = 0;
  };
  [[nodiscard]] std::span<const LongToken> long_inside() const { return long_inside_; }
  // Tokens of which the closing quote is the last byte.
  [[nodiscard]] std::span<const std::uint64_t> closing() const { return closing_; }
  [[nodiscard]] std::span<const StringExit> closing_nodes() const { return closing_nodes_; }
  // Of closing_nodes, those below a node.
  [[nodiscard]] std::span<const StringExit> closing_below(std::uint32_t node) const;
  // The nodes just below closing quotes, by their byte.
  [[nodiscard]] std::span<const StringExit> behind(std::uint8_t byte) const {
    return std::span(behind_).subspan(behind_begins_[byte], behind_begins_[byte + 1U] - behind_begins_[byte]);
  }

  [[nodiscard]] Bytes resident_bytes() const;

 private:
  void build_tree(const std::vector<Entry>& tokens);
  void study_strings();
  void study_bytes();

  std::uint32_t size_ = 0;
  std::uint32_t deepest_ = 0;
  std::vector<Node> nodes_;
  std::vector<Token> tokens_;
  std::array<std::uint32_t, 256> root_children_{};
  std::string bytes_;
  std::vector<std::uint32_t> byte_begins_;  // [size + 1]
  std::vector<Token> end_tokens_;           // ascending
  std::vector<std::uint64_t> inside_;       // [kLengthSteps + 1][words]
  std::vector<LongToken> long_inside_;
  std::vector<std::uint64_t> well_formed_;
  std::vector<Token> with_;
  std::array<std::uint32_t, 129> with_begins_{};
  std::array<std::uint8_t, 128> frequent_{};  // 1 + place in with_frequent_; 0: not frequent
  std::vector<std::uint64_t> with_frequent_;  // [frequent bytes][words]
  std::vector<std::uint64_t> ascii_;
  std::vector<std::uint64_t> closing_;
  std::vector<StringExit> closing_nodes_;
  std::vector<StringExit> behind_;
  std::array<std::uint32_t, 257> behind_begins_{};
};

}  // namespace loadline::grammar
