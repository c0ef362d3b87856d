// What can be set about choosing the next token, with llama.cpp's names and defaults.
// A value type: command line and server fill it in, Sampler obeys it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace loadline::sample {

using Token = std::int32_t;

// Added to a token's logit before anything else. Minus infinity forbids the token.
struct LogitBias {
  Token token = 0;
  float bias = 0.0F;
};

struct Options {
  float temperature = 0.8F;  // divides the logits; 0: always the likeliest token (greedy)
  std::int32_t top_k = 40;   // only the k likeliest; 0 or -1: off
  float top_p = 0.95F;       // the likeliest until their probabilities reach p; 1: off
  float min_p = 0.05F;       // only those at least min_p times as likely as the likeliest; 0: off
  float typical_p = 1.0F;    // the most typical until their probabilities reach p (arXiv:2202.00666); 1: off

  // On tokens among the last repeat_last_n: a positive logit is divided by repeat_penalty and any other multiplied with
  // it (arXiv:1909.05858); then presence_penalty and (occurrences * frequency_penalty) are subtracted.
  float repeat_penalty = 1.0F;      // 1: off
  float presence_penalty = 0.0F;    // 0: off
  float frequency_penalty = 0.0F;   // 0: off
  std::int32_t repeat_last_n = 64;  // 0: no penalties; -1: all tokens so far

  std::vector<LogitBias> logit_bias;  // several of one token add up
  std::optional<std::uint64_t> seed;  // nullopt: another one each time

  [[nodiscard]] bool has_penalties() const {
    return repeat_last_n != 0 && (repeat_penalty != 1.0F || presence_penalty != 0.0F || frequency_penalty != 0.0F);
  }
};

// Throws Error(BadInput) that names the flag, the value and what is allowed.
void validate(const Options& options, std::uint32_t vocabulary);

}  // namespace loadline::sample
