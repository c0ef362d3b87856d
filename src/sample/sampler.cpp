#include "sample/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace loadline::sample {
namespace {

void check(bool valid, const char* flag, double value, const char* range) {
  if (!valid) throw bad_input(fmt::format("{} is {}, which is not {}", flag, value, range));
}

void check(const Options& o, std::uint32_t vocabulary) {
  check(o.temperature >= 0 && std::isfinite(o.temperature), "--temp", o.temperature, "0 or more");
  check(o.top_k >= 0, "--top-k", o.top_k, "0 or more");
  check(o.top_p >= 0 && o.top_p <= 1, "--top-p", o.top_p, "between 0 and 1");
  check(o.min_p >= 0 && o.min_p <= 1, "--min-p", o.min_p, "between 0 and 1");
  check(o.typical_p >= 0 && o.typical_p <= 1, "--typical", o.typical_p, "between 0 and 1");
  check(o.repeat_last_n >= -1, "--repeat-last-n", o.repeat_last_n, "-1 or more");
  check(o.repeat_penalty > 0 && std::isfinite(o.repeat_penalty), "--repeat-penalty", o.repeat_penalty, "above 0");
  check(std::isfinite(o.presence_penalty), "--presence-penalty", o.presence_penalty, "a finite number");
  check(std::isfinite(o.frequency_penalty), "--frequency-penalty", o.frequency_penalty, "a finite number");
  for (const LogitBias& bias : o.bias) {
    check(bias.token >= 0 && static_cast<std::uint32_t>(bias.token) < vocabulary, "--logit-bias: the token", bias.token,
          "in the vocabulary");
    check(!std::isnan(bias.bias), "--logit-bias", bias.bias, "a number");
  }
}

// Most likely first; equal logits in the order of the vocabulary, so that the result is the same everywhere.
bool more_likely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

}  // namespace

Sampler::Sampler(Options options, std::uint32_t vocabulary)
    : options_(std::move(options)), random_(options_.seed), candidates_(vocabulary), counts_(vocabulary) {
  check(options_, vocabulary);
  if (options_.repeat_last_n > 0) window_.reserve(static_cast<std::size_t>(options_.repeat_last_n));
}

void Sampler::reset() {
  random_ = Random(options_.seed);
  std::ranges::fill(counts_, 0U);
  window_.clear();
  window_next_ = 0;
}

void Sampler::forget(Token token) { --counts_[static_cast<std::size_t>(token)]; }

void Sampler::accept(Token token) {
  if (token < 0 || static_cast<std::size_t>(token) >= counts_.size() || options_.repeat_last_n == 0) return;
  ++counts_[static_cast<std::size_t>(token)];
  if (options_.repeat_last_n < 0 || window_.size() < static_cast<std::size_t>(options_.repeat_last_n)) {
    window_.push_back(token);
    return;
  }
  forget(window_[window_next_]);
  window_[window_next_] = token;
  window_next_ = (window_next_ + 1) % window_.size();
}

void Sampler::collect(std::span<const float> logits) {
  kept_ = 0;
  for (std::size_t i = 0; i < std::min(logits.size(), candidates_.size()); ++i) {
    if (std::isnan(logits[i]) || logits[i] == -INFINITY) continue;
    candidates_[kept_++] = {static_cast<Token>(i), logits[i], 0};
  }
}

// The formulas: CTRL's repetition penalty (arXiv:1909.05858) and the presence and frequency penalties of OpenAI's API.
void Sampler::penalise() {
  const bool penalties =
      options_.repeat_penalty != 1.0F || options_.presence_penalty != 0.0F || options_.frequency_penalty != 0.0F;
  if (penalties && !window_.empty()) {
    for (std::size_t i = 0; i < kept_; ++i) {
      float& logit = candidates_[i].logit;
      const std::uint32_t seen = counts_[static_cast<std::size_t>(candidates_[i].token)];
      if (seen == 0) continue;
      logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
      logit -= options_.presence_penalty + static_cast<float>(seen) * options_.frequency_penalty;
    }
  }
  if (options_.bias.empty()) return;
  for (std::size_t i = 0; i < kept_; ++i) {
    for (const LogitBias& bias : options_.bias) {
      if (bias.token == candidates_[i].token) candidates_[i].logit += bias.bias;
    }
  }
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(kept_);
  const auto possible = std::remove_if(candidates_.begin(), end,
                                       [](const Candidate& c) { return c.logit == -INFINITY || std::isnan(c.logit); });
  kept_ = static_cast<std::size_t>(possible - candidates_.begin());
}

// Keeps the `count` most likely, sorted. Only those are sorted, not the vocabulary.
void Sampler::keep_most_likely(std::size_t count) {
  const auto begin = candidates_.begin();
  const auto end = begin + static_cast<std::ptrdiff_t>(kept_);
  if (count < kept_) {
    const auto middle = begin + static_cast<std::ptrdiff_t>(count);
    std::nth_element(begin, middle, end, more_likely);
    kept_ = count;
    std::sort(begin, middle, more_likely);
    return;
  }
  std::sort(begin, end, more_likely);
}

void Sampler::softmax(double temperature) {
  const double highest = candidates_[0].logit;
  double total = 0;
  for (std::size_t i = 0; i < kept_; ++i) {
    Candidate& c = candidates_[i];
    // An infinite logit is certain; several share.
    c.probability =
        highest == INFINITY ? (c.logit == INFINITY ? 1.0 : 0.0) : std::exp((c.logit - highest) / temperature);
    total += c.probability;
  }
  for (std::size_t i = 0; i < kept_; ++i) candidates_[i].probability /= total;
}

// Keeps the tokens whose surprise is nearest to the expected surprise, until they reach typical_p together.
void Sampler::keep_typical() {
  softmax(1.0);
  double entropy = 0;
  for (std::size_t i = 0; i < kept_; ++i) {
    const double p = candidates_[i].probability;
    if (p > 0) entropy -= p * std::log(p);
  }
  const auto begin = candidates_.begin();
  const auto end = begin + static_cast<std::ptrdiff_t>(kept_);
  const auto distance = [&](const Candidate& c) {
    return c.probability > 0 ? std::abs(-std::log(c.probability) - entropy) : INFINITY;
  };
  std::sort(begin, end, [&](const Candidate& a, const Candidate& b) {
    const double da = distance(a);
    const double db = distance(b);
    return da != db ? da < db : more_likely(a, b);
  });
  double sum = 0;
  std::size_t count = 0;
  while (count < kept_ && sum < options_.typical_p) sum += candidates_[count++].probability;
  kept_ = std::max<std::size_t>(count, 1);
  std::sort(begin, begin + static_cast<std::ptrdiff_t>(kept_), more_likely);
}

void Sampler::keep_top_p() {
  softmax(1.0);
  double sum = 0;
  std::size_t count = 0;
  while (count < kept_ && sum < options_.top_p) sum += candidates_[count++].probability;
  kept_ = std::max<std::size_t>(count, 1);
}

void Sampler::keep_min_p() {
  // p_i / p_max = exp(logit_i - logit_max): no softmax needed.
  const double least = candidates_[0].logit + std::log(static_cast<double>(options_.min_p));
  std::size_t count = 1;
  while (count < kept_ && candidates_[count].logit >= least) ++count;
  kept_ = count;
}

Token Sampler::sample(std::span<const float> logits) {
  collect(logits);
  penalise();
  if (kept_ == 0) return 0;
  if (options_.temperature == 0) {
    keep_most_likely(1);
    candidates_[0].probability = 1;
    return candidates_[0].token;
  }
  keep_most_likely(options_.top_k > 0 ? static_cast<std::size_t>(options_.top_k) : kept_);
  if (options_.typical_p < 1) keep_typical();
  if (options_.top_p < 1) keep_top_p();
  if (options_.min_p > 0) keep_min_p();
  softmax(options_.temperature);

  double left = random_.uniform();
  for (std::size_t i = 0; i + 1 < kept_; ++i) {
    left -= candidates_[i].probability;
    if (left < 0) return candidates_[i].token;
  }
  return candidates_[kept_ - 1].token;
}

}  // namespace loadline::sample
