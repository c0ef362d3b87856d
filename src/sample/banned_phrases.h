// Phrases that must not be written. What could become one is held back until it is clear that it does not; where one is
// complete, the caller goes back to the token that it began in and draws another. Knows texts of tokens, no model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sample/options.h"

namespace loadline::sample {

// For one sequence, used by one thread at a time. Allocates in its constructor only, unless a token has more than
// kLongestPiece bytes.
class BannedPhrases {
 public:
  static constexpr std::size_t kLongestPiece = 256;
  // At one place so many tokens are banned at most; then the phrase is let through, as going back for ever helps
  // nobody.
  static constexpr std::size_t kMostBans = 32;

  // `ignore_case`: ASCII letters in either case. Empty phrases are ignored.
  explicit BannedPhrases(std::vector<std::string> phrases, bool ignore_case = true);

  struct Verdict {
    std::size_t release = 0;  // bytes of text, from the oldest held back on, that can be shown now
    std::size_t rewind = 0;   // tokens to take back, this one included; 0: go on
  };
  // `text` is what `token` adds. After a rewind the tokens taken back are forgotten here, and `banned` lists what must
  // not be drawn in place of the first of them.
  Verdict push(Token token, std::string_view text);

  // Tokens that must not be drawn next.
  [[nodiscard]] std::span<const Token> banned() const {
    return pieces_.empty() ? std::span<const Token>(banned_) : std::span<const Token>();
  }
  // The longest phrase, in bytes: no more tokens than that are held back.
  [[nodiscard]] std::size_t longest() const { return longest_; }
  // Tokens of which text is held back.
  [[nodiscard]] std::size_t held_tokens() const { return pieces_.size(); }
  // What is held back, when the generation ends.
  [[nodiscard]] std::string_view held_back() const { return held_; }
  void reset();

 private:
  struct Piece {
    Token token = 0;
    std::uint32_t begin = 0;  // of its text in held_
  };
  [[nodiscard]] bool equal(std::string_view text, std::string_view phrase) const;

  std::vector<std::string> phrases_;
  bool ignore_case_;
  std::size_t longest_ = 0;
  std::string held_;
  std::vector<Piece> pieces_;  // tokens of which text is held back, oldest first
  std::vector<Token> banned_;  // at the place of the first of pieces_, or that comes next
};

}  // namespace loadline::sample
