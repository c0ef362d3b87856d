// What the model itself thinks of tokens, before any step of a sampler: natural logarithms of probabilities.
#pragma once

#include <span>

#include "sample/options.h"

namespace loadline::sample {

struct LogProbability {
  Token token = 0;
  double value = 0.0;
};

// The likeliest tokens of a row of logits, as many as `out` has room for, likeliest first; equal ones by token id.
// Returns how many there are (fewer where the vocabulary has fewer numbers). Nothing is allocated.
std::size_t top_log_probabilities(std::span<const float> logits, std::span<LogProbability> out);

// Of one token; minus infinity where its logit is no number.
double log_probability(std::span<const float> logits, Token token);

}  // namespace loadline::sample
