// NgramDrafter: guesses how a text goes on from how it went on before (prompt lookup): where the last few tokens have
// stood together earlier, what followed them then is the guess. It proposes and learns how good its guesses were;
// whether a guess is right is for the model to say, so a wrong one costs time and never changes the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "speculate/drafter.h"

namespace loadline::speculate {

struct NgramOptions {
  std::uint32_t draft_max = 16;  // most tokens guessed at once
  std::uint32_t draft_min = 0;   // shorter guesses are not made
  std::uint32_t ngram_max = 4;   // tokens that must have stood together before: as many of these ...
  std::uint32_t ngram_min = 2;   // ... as are found, but not fewer than these
};

// Throws Error(BadInput) that names the flag and what is allowed.
void validate(const NgramOptions& options);

// For one sequence, used by one thread. Allocates only when constructed, 4 bytes a token.
class NgramDrafter final : public Drafter {
 public:
  // `most_tokens`: of the whole text; what comes after is not remembered. Throws Error(BadInput) as `validate` does.
  NgramDrafter(const NgramOptions& options, std::size_t most_tokens);

  void append(std::span<const Token> tokens) noexcept override;
  void append(Token token) noexcept { append({&token, 1}); }

  // Of several earlier places the latest counts. Where the guess reaches the end of the text it goes on with itself, as
  // a loop does.
  std::span<const Token> draft(std::size_t most) noexcept override;

  // After a draft that was right throughout the next may be twice as long, up to draft_max; after one that was wrong
  // from the start half as long: a token that is guessed in vain costs arithmetic.
  void judge(std::size_t right) noexcept override;

  void reset() noexcept override;

 private:
  [[nodiscard]] std::size_t find() const;

  NgramOptions options_;
  std::size_t limit_;  // tokens of the next draft
  std::vector<Token> text_;
  std::vector<Token> draft_;
};

}  // namespace loadline::speculate
