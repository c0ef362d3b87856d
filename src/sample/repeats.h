// Repeats: what would continue a repetition of earlier text, and how much that is made less likely ("DRY", "don't
// repeat yourself", by p-e-w, text-generation-webui pull request 5677, in llama.cpp's reading). Knows tokens, no text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "sample/options.h"

namespace loadline::sample {

// For one sequence, used by one thread at a time. Allocates in its constructor only.
class Repeats {
 public:
  struct Penalty {
    Token token = 0;
    float penalty = 0.0F;  // subtracted from its logit
  };

  // Without DRY in the options nothing is held.
  Repeats(const Options& options, std::uint32_t vocabulary);
  static Bytes memory_bytes(const Options& options, std::uint32_t vocabulary);
  // The most that `find` can give.
  static std::size_t most(const Options& options, std::uint32_t vocabulary);

  void accept(Token token);
  void reset() { used_ = 0; }

  // The tokens that followed earlier texts which end as the text does now, with at least `dry_allowed_length` tokens in
  // common and no sequence breaker among them; each once. Holds until the next call. Linear in the tokens looked at.
  std::span<const Penalty> find();

 private:
  [[nodiscard]] std::size_t since_breaker() const;

  std::size_t window_ = 0;  // tokens that are looked at
  std::int32_t allowed_ = 0;
  float multiplier_ = 0.0F;
  float base_ = 0.0F;
  std::vector<std::vector<Token>> breakers_;  // of several tokens
  std::vector<std::uint8_t> breaks_;          // [vocabulary] the token alone is a breaker
  std::vector<Token> tokens_;                 // [2 * window_] the last of them in order, moved to the front when full
  std::size_t used_ = 0;
  std::vector<std::uint32_t> common_;   // [window_] tokens in common with the end, by distance from the end
  std::vector<std::uint32_t> longest_;  // [vocabulary] the longest repetition that the token would continue
  std::vector<Penalty> found_;
};

}  // namespace loadline::sample
