#include "sample/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "base/error.h"
#include "sample/exponential.h"

namespace loadline::sample {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kNever = -std::numeric_limits<float>::infinity();

// Room to gather in besides the candidates that are wanted: once it is full, one selection halves it.
constexpr std::size_t kSlack = 256;

// The order of likelihood. Token ids break ties, so that no sorting algorithm can show.
bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// Elements that each array of a Sampler holds.
struct Sizes {
  std::size_t wanted;  // candidates after top-k
  std::size_t candidates;
  std::size_t window;
  std::size_t history;  // arrays over the vocabulary, for penalties
  std::size_t repeated;
  std::size_t adjusted;
};

Sizes sizes_for(const Options& options, std::uint32_t vocabulary) {
  const std::size_t all = vocabulary;
  Sizes sizes{};
  sizes.wanted = options.temperature == 0 ? 1 : options.top_k <= 0 ? all : static_cast<std::size_t>(options.top_k);
  sizes.wanted = std::min(sizes.wanted, all);
  if (options.has_penalties()) {
    sizes.window = options.repeat_last_n < 0 ? 0 : static_cast<std::size_t>(options.repeat_last_n);
    sizes.history = all;
    sizes.repeated = options.repeat_last_n < 0 ? all : std::min(all, sizes.window);
  }
  const std::size_t most_adjusted = options.logit_bias.size() + sizes.repeated;
  if (most_adjusted != 0) sizes.adjusted = all;
  sizes.candidates = std::min(all, std::max(2 * sizes.wanted + kSlack, sizes.wanted + most_adjusted));
  return sizes;
}

std::uint64_t any_seed() {
  std::random_device source;
  return std::uint64_t{source()} << 32 | source();
}

// Sorted by token, each once, the biases of one token added.
void merge(std::vector<LogitBias>& biases) {
  std::sort(biases.begin(), biases.end(), [](const LogitBias& a, const LogitBias& b) {
    return a.token != b.token ? a.token < b.token : a.bias < b.bias;
  });
  std::size_t used = 0;
  for (const LogitBias& bias : biases) {
    if (used != 0 && biases[used - 1].token == bias.token) {
      biases[used - 1].bias += bias.bias;
    } else {
      biases[used++] = bias;
    }
  }
  biases.resize(used);
}

// Keeps the first candidates in `order` up to the one with which their weights together satisfy `reached`. Sorts only
// as far as it has to look.
template <class Order, class Reached>
void keep_first(std::vector<Candidate>& candidates, bool sorted, Order order, Reached reached) {
  const auto begin = candidates.begin();
  std::size_t in_order = sorted ? candidates.size() : 0;
  double sum = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (i == in_order) {
      const std::size_t end = std::min(candidates.size(), std::max(kSlack, 4 * in_order));
      const auto from = begin + static_cast<std::ptrdiff_t>(in_order);
      const auto to = begin + static_cast<std::ptrdiff_t>(end);
      if (end < candidates.size()) std::nth_element(from, to, candidates.end(), order);
      std::sort(from, to, order);
      in_order = end;
    }
    sum += candidates[i].probability;
    if (reached(sum)) {
      candidates.resize(i + 1);
      return;
    }
  }
}

}  // namespace

Sampler::Sampler(Options options, std::uint32_t vocabulary)
    : options_((validate(options, vocabulary), std::move(options))),
      vocabulary_(vocabulary),
      seed_(options_.seed ? *options_.seed : any_seed()),
      random_(seed_) {
  const Sizes sizes = sizes_for(options_, vocabulary);
  wanted_ = sizes.wanted;
  candidates_.reserve(sizes.candidates);
  window_.resize(sizes.window);
  counts_.resize(sizes.history);
  place_.resize(sizes.history);
  repeated_.reserve(sizes.repeated);
  adjusted_.resize(sizes.adjusted);
  biases_ = std::move(options_.logit_bias);
  merge(biases_);
  for (const LogitBias& bias : biases_) adjusted_[static_cast<std::size_t>(bias.token)] = kBiased;
}

Bytes Sampler::memory_bytes(const Options& options, std::uint32_t vocabulary) {
  const Sizes sizes = sizes_for(options, vocabulary);
  return Bytes(sizes.candidates * sizeof(Candidate) + sizes.window * sizeof(Token) +
               sizes.history * (sizeof(std::uint32_t) + sizeof(std::uint32_t)) + sizes.repeated * sizeof(Token) +
               sizes.adjusted * sizeof(std::uint8_t) + options.logit_bias.size() * sizeof(LogitBias));
}

Token Sampler::sample(std::span<const float> logits) {
  gather(logits);
  if (candidates_.empty()) {
    throw bad_input("no token can be chosen: every logit is NaN or minus infinity",
                    "The model's weights may be damaged, or the biases forbid every token.");
  }
  sorted_ = wanted_ < vocabulary_;
  if (sorted_) std::sort(candidates_.begin(), candidates_.end(), likelier);
  if (options_.temperature == 0) {
    candidates_[0].probability = 1.0;
    return candidates_[0].token;
  }
  weigh(1.0);
  if (options_.typical_p < 1) keep_typical();
  if (options_.top_p < 1) keep_top_p();
  if (options_.min_p > 0) keep_min_p();
  if (options_.temperature != 1) weigh(options_.temperature);
  return draw();
}

// Fills candidates_ with the `wanted_` likeliest tokens (in no order), bias and penalties applied.
void Sampler::gather(std::span<const float> logits) {
  candidates_.clear();
  const std::size_t room = candidates_.capacity();
  const bool all_fit = room >= logits.size();
  // Whatever is not above this cannot be among the wanted: there are enough that are likelier. NaN is never above.
  float threshold = kNever;
  constexpr std::size_t kBlock = 32;  // looked at together: usually none is above, and the compiler can use vectors
  for (std::size_t start = 0; start < logits.size(); start += kBlock) {
    const std::size_t end = std::min(start + kBlock, logits.size());
    unsigned above = 0;
    for (std::size_t i = start; i < end; ++i) above |= logits[i] > threshold ? 1U : 0U;
    if (above == 0) continue;
    for (std::size_t i = start; i < end; ++i) {
      if (!(logits[i] > threshold)) continue;
      if (!adjusted_.empty() && adjusted_[i] != 0) continue;
      if (candidates_.size() == room && !all_fit) {
        keep_likeliest(wanted_);
        threshold = std::ranges::min(candidates_, {}, &Candidate::logit).logit;
        if (!(logits[i] > threshold)) continue;
      }
      candidates_.push_back({static_cast<Token>(i), std::min(logits[i], kLargest), 0.0});
    }
  }
  if (candidates_.size() > wanted_) keep_likeliest(wanted_);

  for (const LogitBias& bias : biases_) {
    push_adjusted(bias.token, logits[static_cast<std::size_t>(bias.token)], bias.bias);
  }
  for (const Token token : repeated_) {
    const auto index = static_cast<std::size_t>(token);
    if ((adjusted_[index] & kBiased) == 0) push_adjusted(token, logits[index], 0.0F);
  }
  if (candidates_.size() > wanted_) keep_likeliest(wanted_);
}

void Sampler::push_adjusted(Token token, float logit, float bias) {
  logit = std::min(logit, kLargest) + bias;
  const std::uint32_t count = counts_.empty() ? 0 : counts_[static_cast<std::size_t>(token)];
  if (count != 0) {
    logit = logit <= 0 ? logit * options_.repeat_penalty : logit / options_.repeat_penalty;
    logit -= static_cast<float>(count) * options_.frequency_penalty + options_.presence_penalty;
  }
  if (logit > kNever) candidates_.push_back({token, std::min(logit, kLargest), 0.0});
}

void Sampler::keep_likeliest(std::size_t count) {
  std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(count), candidates_.end(),
                   likelier);
  candidates_.resize(count);
}

// Sets every probability to e^(logit / temperature), up to a common factor: the likeliest has 1.
void Sampler::weigh(double temperature) {
  double largest = candidates_[0].logit;
  if (!sorted_) {
    for (const Candidate& candidate : candidates_) largest = std::max(largest, double{candidate.logit});
  }
  for (Candidate& candidate : candidates_) {
    candidate.probability = exponential((candidate.logit - largest) / temperature);
  }
}

double Sampler::total_weight() const {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.probability;
  return total;
}

// The most typical tokens are those whose surprise, -log p, is nearest to the expected surprise, the entropy. With
// p = e^logit / total both contain log(total), so that their difference is that between the logit and the expected
// logit.
void Sampler::keep_typical() {
  const double total = total_weight();
  double expected = 0;
  for (const Candidate& candidate : candidates_) expected += candidate.probability * candidate.logit;
  expected /= total;
  const auto more_typical = [expected](const Candidate& a, const Candidate& b) {
    const double from_a = std::abs(a.logit - expected);
    const double from_b = std::abs(b.logit - expected);
    return from_a != from_b ? from_a < from_b : likelier(a, b);
  };
  const double goal = options_.typical_p * total;
  keep_first(candidates_, false, more_typical, [goal](double sum) { return sum > goal; });
  sorted_ = false;
}

void Sampler::keep_top_p() {
  const double goal = options_.top_p * total_weight();
  keep_first(candidates_, sorted_, likelier, [goal](double sum) { return sum >= goal; });
  sorted_ = true;
}

void Sampler::keep_min_p() {
  double largest = candidates_[0].probability;
  if (!sorted_) {
    for (const Candidate& candidate : candidates_) largest = std::max(largest, candidate.probability);
  }
  const double least = options_.min_p * largest;
  std::erase_if(candidates_, [least](const Candidate& candidate) { return candidate.probability < least; });
}

// Draws by the weights, and makes probabilities of them.
Token Sampler::draw() {
  const double total = total_weight();
  const double goal = random_.uniform() * total;
  Token chosen = -1;
  double sum = 0;
  for (Candidate& candidate : candidates_) {
    sum += candidate.probability;
    // The first whose share reaches beyond the goal. Rounding cannot leave none: `sum` ends at `total`, and the largest
    // uniform value times `total` stays below it.
    if (chosen < 0 && sum > goal) chosen = candidate.token;
    candidate.probability /= total;
  }
  return chosen;
}

void Sampler::accept(Token token) {
  if (token < 0 || static_cast<std::uint32_t>(token) >= vocabulary_) {
    throw Error(ErrorCode::Internal, fmt::format("token {} is not one of the vocabulary's {}", token, vocabulary_));
  }
  if (counts_.empty()) return;
  if (!window_.empty()) {
    if (window_used_ == window_.size()) {
      forget(window_[window_next_]);
    } else {
      ++window_used_;
    }
    window_[window_next_] = token;
    window_next_ = (window_next_ + 1) % window_.size();
  }
  count(token);
}

void Sampler::count(Token token) {
  const auto index = static_cast<std::size_t>(token);
  if (counts_[index]++ != 0) return;
  place_[index] = static_cast<std::uint32_t>(repeated_.size());
  repeated_.push_back(token);
  adjusted_[index] |= kRepeated;
}

void Sampler::forget(Token token) {
  const auto index = static_cast<std::size_t>(token);
  if (--counts_[index] != 0) return;
  const Token last = repeated_.back();
  repeated_[place_[index]] = last;
  place_[static_cast<std::size_t>(last)] = place_[index];
  repeated_.pop_back();
  adjusted_[index] &= static_cast<std::uint8_t>(~kRepeated);
}

void Sampler::reset() {
  for (const Token token : repeated_) {
    counts_[static_cast<std::size_t>(token)] = 0;
    adjusted_[static_cast<std::size_t>(token)] &= static_cast<std::uint8_t>(~kRepeated);
  }
  repeated_.clear();
  candidates_.clear();
  window_next_ = 0;
  window_used_ = 0;
  random_ = Random(seed_);
}

}  // namespace loadline::sample
