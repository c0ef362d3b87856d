// The sampler chain: from a row of logits to the next token.
// Penalties and bias, then top-k, typical, top-p, min-p, temperature, and the draw, in llama.cpp's default order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sample/random.h"

namespace loadline::sample {

using Token = std::int32_t;

struct LogitBias {
  Token token;
  float bias;  // added to the logit; -infinity forbids the token
};

// Defaults are llama.cpp's. A filter at its neutral value is left out of the chain.
struct Options {
  float temperature = 0.8F;         // 0: always the most likely token (after penalties and bias)
  std::int32_t top_k = 40;          // keep the k most likely; 0: all
  float top_p = 0.95F;              // keep the most likely that together reach p; 1: all
  float min_p = 0.05F;              // keep those at least p times as likely as the most likely; 0: all
  float typical_p = 1.0F;           // keep the most typical that together reach p (arXiv:2202.00666); 1: all
  std::int32_t repeat_last_n = 64;  // tokens the penalties look back on; 0: none, -1: the whole text
  float repeat_penalty = 1.0F;      // divides positive logits of seen tokens, multiplies negative ones
  float presence_penalty = 0.0F;    // subtracted once from the logit of a seen token
  float frequency_penalty = 0.0F;   // subtracted for each time it was seen
  std::vector<LogitBias> bias;
  std::uint64_t seed = 0;
};

// What remained before a draw, most likely first.
struct Candidate {
  Token token;
  float logit;
  double probability;
};

// The same options, seed, texts and logits give the same tokens everywhere. Allocates only when constructed (and, with
// repeat_last_n = -1, as the text grows). Not thread-safe.
class Sampler {
 public:
  // Throws Error(BadInput) naming the flag for a value out of range, or a bias for a token outside the vocabulary.
  Sampler(Options options, std::uint32_t vocabulary);

  // Chooses a token from `logits`, one per token of the vocabulary. NaN counts as impossible; where nothing is
  // possible, the token is 0.
  Token sample(std::span<const float> logits);
  // Tells the penalties that a token, drawn or from the prompt, is now part of the text.
  void accept(Token token);
  // Forgets the text and starts the random numbers again.
  void reset();

  // What the last draw was made from; probabilities sum to 1.
  [[nodiscard]] std::span<const Candidate> candidates() const { return {candidates_.data(), kept_}; }

 private:
  void forget(Token token);
  void collect(std::span<const float> logits);
  void penalise();
  void keep_most_likely(std::size_t count);
  void softmax(double temperature);
  void keep_typical();
  void keep_top_p();
  void keep_min_p();

  Options options_;
  Random random_;
  std::vector<Candidate> candidates_;  // one per token; the first kept_ are still in
  std::size_t kept_ = 0;
  std::vector<std::uint32_t> counts_;  // per token: how often it is in the window
  std::vector<Token> window_;          // the last tokens, a ring once it is full
  std::size_t window_next_ = 0;
};

}  // namespace loadline::sample
