#include "sample/log_probabilities.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sample/exponential.h"

namespace loadline::sample {
namespace {

// ln of the sum of e^logit.
double log_of_sum(std::span<const float> logits) {
  float largest = -std::numeric_limits<float>::infinity();
  for (const float logit : logits) {
    if (logit > largest) largest = logit;
  }
  largest = std::min(largest, std::numeric_limits<float>::max());
  double sum = 0;
  for (const float logit : logits) {
    if (!std::isnan(logit)) sum += exponential(std::min(logit, std::numeric_limits<float>::max()) - double{largest});
  }
  return sum > 0 ? largest + logarithm(sum) : -std::numeric_limits<double>::infinity();
}

}  // namespace

std::size_t top_log_probabilities(std::span<const float> logits, std::span<LogProbability> out) {
  std::size_t used = 0;
  for (std::size_t i = 0; i < logits.size() && !out.empty(); ++i) {
    const double logit = std::min(logits[i], std::numeric_limits<float>::max());
    if (!(logits[i] > -std::numeric_limits<float>::infinity())) continue;
    if (used == out.size() && logit <= out[used - 1].value) continue;
    // Kept in order: `out` is short.
    std::size_t place = used < out.size() ? used++ : used - 1;
    while (place > 0 && out[place - 1].value < logit) {
      out[place] = out[place - 1];
      --place;
    }
    out[place] = {static_cast<Token>(i), logit};
  }
  const double total = log_of_sum(logits);
  for (LogProbability& one : out.first(used)) one.value -= total;
  return used;
}

double log_probability(std::span<const float> logits, Token token) {
  const float logit = logits[static_cast<std::size_t>(token)];
  if (std::isnan(logit)) return -std::numeric_limits<double>::infinity();
  return std::min(logit, std::numeric_limits<float>::max()) - log_of_sum(logits);
}

}  // namespace loadline::sample
