// Drafter: what guesses at the tokens that come next in one text. Whether a guess is right is for the model to say, so
// a wrong one costs time and never changes the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace loadline::speculate {

using Token = std::int32_t;

// For one text at a time, used by one thread. Implementations allocate only when constructed. Where guessing fails
// there is no guess.
class Drafter {
 public:
  virtual ~Drafter() = default;

  // The text so far, prompt and all, as it grows.
  virtual void append(std::span<const Token> tokens) noexcept = 0;
  // At most `most` tokens that may come next; often none. Valid until the next call.
  virtual std::span<const Token> draft(std::size_t most) noexcept = 0;
  // How many of the last draft's tokens were right.
  virtual void judge(std::size_t right) noexcept = 0;
  // As constructed, for another text.
  virtual void reset() noexcept = 0;
};

}  // namespace loadline::speculate
