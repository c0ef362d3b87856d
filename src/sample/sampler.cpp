#include "sample/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "base/error.h"
#include "sample/candidates.h"

namespace loadline::sample {
namespace {

// Elements that each array of a Sampler holds.
struct Sizes {
  std::size_t wanted;  // candidates after top-k
  std::size_t candidates;
  std::size_t window;
  std::size_t history;  // arrays over the vocabulary, for penalties
  std::size_t repeated;
  std::size_t adjusted;
  std::size_t continued;
  std::size_t steps;
};

bool is_on(const Options& options, Step step) {
  switch (step) {
    case Step::Penalties: return options.has_penalties();
    case Step::Dry: return options.has_dry();
    case Step::TopNSigma: return options.top_n_sigma > 0;
    case Step::TopK: return options.top_k > 0;
    case Step::Typical: return options.typical_p < 1;
    case Step::TopP: return options.top_p < 1;
    case Step::MinP: return options.min_p > 0;
    case Step::Xtc: return options.xtc_probability > 0 && options.xtc_threshold <= 0.5F;
    case Step::Temperature: return true;
  }
  return false;
}

// The steps that do something, and what of them is done while the candidates are gathered: penalties, and the choice of
// the likeliest, so that the others need not be looked at.
struct Order {
  std::vector<Step> steps;
  std::size_t first = 0;  // the first that is left
  bool penalties = false;
  bool dry = false;
  std::size_t wanted = 0;
};

Order order_of(const Options& options, std::uint32_t vocabulary) {
  Order order;
  for (const Step step : options.steps) {
    const bool truncates = step != Step::Penalties && step != Step::Dry && step != Step::Temperature;
    if (is_on(options, step) && !(options.mirostat != 0 && truncates)) order.steps.push_back(step);
  }
  const auto next_is = [&](Step step) { return order.first < order.steps.size() && order.steps[order.first] == step; };
  if (next_is(Step::Penalties)) {
    order.penalties = true;
    ++order.first;
  }
  if (next_is(Step::Dry)) {
    order.dry = true;
    ++order.first;
  }
  order.wanted = vocabulary;
  const auto rest = std::span(order.steps).subspan(order.first);
  const bool later = std::ranges::any_of(
      rest, [](Step step) { return step == Step::Penalties || step == Step::Dry || step == Step::Xtc; });
  if (options.temperature == 0 && options.mirostat == 0 && !later) {
    order.wanted = 1;  // the likeliest survives whatever else is asked for
    order.first = order.steps.size();
  } else if (next_is(Step::TopK)) {
    order.wanted =
        std::min<std::size_t>(vocabulary, static_cast<std::size_t>(std::max(options.top_k, options.min_keep)));
    ++order.first;
  }
  return order;
}

Sizes sizes_for(const Options& options, std::uint32_t vocabulary) {
  const std::size_t all = vocabulary;
  Sizes sizes{};
  const Order order = order_of(options, vocabulary);
  sizes.wanted = order.wanted;
  sizes.steps = order.steps.size();
  if (options.has_penalties()) {
    sizes.window = options.repeat_last_n < 0 ? 0 : static_cast<std::size_t>(options.repeat_last_n);
    sizes.history = all;
    sizes.repeated = options.repeat_last_n < 0 ? all : std::min(all, sizes.window);
  }
  const bool dry = options.has_dry();
  sizes.continued = dry ? all : 0;
  const std::size_t most_adjusted =
      options.logit_bias.size() + sizes.repeated + (dry ? Repeats::most(options, vocabulary) : 0);
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

}  // namespace

Sampler::Sampler(Options options, std::uint32_t vocabulary)
    : options_((validate(options, vocabulary), std::move(options))),
      vocabulary_(vocabulary),
      seed_(options_.seed ? *options_.seed : any_seed()),
      random_(seed_),
      repeats_(options_, vocabulary) {
  Order order = order_of(options_, vocabulary);
  steps_ = std::move(order.steps);
  first_step_ = order.first;
  early_penalties_ = order.penalties;
  early_dry_ = order.dry;
  const Sizes sizes = sizes_for(options_, vocabulary);
  wanted_ = sizes.wanted;
  candidates_.reserve(sizes.candidates);
  window_.resize(sizes.window);
  counts_.resize(sizes.history);
  place_.resize(sizes.history);
  repeated_.reserve(sizes.repeated);
  adjusted_.resize(sizes.adjusted);
  continued_.resize(sizes.continued);
  biases_ = std::move(options_.logit_bias);
  merge(biases_);
  for (const LogitBias& bias : biases_) adjusted_[static_cast<std::size_t>(bias.token)] = kBiased;
  reset();
}

Bytes Sampler::memory_bytes(const Options& options, std::uint32_t vocabulary) {
  const Sizes sizes = sizes_for(options, vocabulary);
  return Bytes(sizes.candidates * sizeof(Candidate) + sizes.window * sizeof(Token) +
               sizes.history * (sizeof(std::uint32_t) + sizeof(std::uint32_t)) + sizes.repeated * sizeof(Token) +
               sizes.adjusted * sizeof(std::uint8_t) + options.logit_bias.size() * sizeof(LogitBias) +
               sizes.continued * sizeof(float) + sizes.steps * sizeof(Step)) +
         Repeats::memory_bytes(options, vocabulary);
}

Token Sampler::sample(std::span<const float> logits, std::span<const std::uint64_t> allowed) {
  gather(logits, allowed);
  if (candidates_.empty()) {
    throw bad_input("no token can be chosen: every logit is NaN or minus infinity",
                    "The model's weights may be damaged, or everything is forbidden by a grammar or a logit bias.");
  }
  sorted_ = wanted_ < vocabulary_;
  if (sorted_) std::sort(candidates_.begin(), candidates_.end(), likelier);
  if (wanted_ == 1 && options_.temperature == 0) {
    candidates_[0].probability = 1.0;
    return candidates_[0].token;
  }
  weigh(1.0);
  for (std::size_t i = first_step_; i < steps_.size(); ++i) apply(steps_[i], i + 1 == steps_.size());
  if (options_.mirostat != 0) return draw_surprise();
  if (options_.temperature == 0) {
    keep_likeliest(1);
    weigh(1.0);
  }
  return options_.adaptive_target >= 0 ? draw_adaptive() : draw();
}

// Fills candidates_ with the `wanted_` likeliest tokens (in no order), bias and penalties applied.
void Sampler::gather(std::span<const float> logits, std::span<const std::uint64_t> allowed) {
  candidates_.clear();
  const auto is_allowed = [&](std::size_t token) {
    // A model can have more logits than its vocabulary has tokens.
    return allowed.empty() || (token / 64 < allowed.size() && (allowed[token / 64] >> (token % 64) & 1) != 0);
  };
  const std::span<const Repeats::Penalty> continuing = repeats_.find();
  for (const Repeats::Penalty& one : continuing) {
    const auto token = static_cast<std::size_t>(one.token);
    continued_[token] = one.penalty;
    if (early_dry_) adjusted_[token] |= kContinues;
  }
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
      if (!is_allowed(i) || (!adjusted_.empty() && adjusted_[i] != 0)) continue;
      if (candidates_.size() == room && !all_fit) {
        keep_likeliest(wanted_);
        threshold = std::ranges::min(candidates_, {}, &Candidate::logit).logit;
        if (!(logits[i] > threshold)) continue;
      }
      candidates_.push_back({static_cast<Token>(i), std::min(logits[i], kLargest), 0.0});
    }
  }
  if (candidates_.size() > wanted_) keep_likeliest(wanted_);

  const auto add = [&](Token token, float bias) {
    const auto index = static_cast<std::size_t>(token);
    if (is_allowed(index)) push_adjusted(token, logits[index], bias);
  };
  // Each token once, though there may be several reasons.
  for (const LogitBias& bias : biases_) add(bias.token, bias.bias);
  for (const Token token : repeated_) {
    if ((adjusted_[static_cast<std::size_t>(token)] & kBiased) == 0) add(token, 0.0F);
  }
  if (early_dry_) {
    for (const Repeats::Penalty& one : continuing) {
      std::uint8_t& reasons = adjusted_[static_cast<std::size_t>(one.token)];
      if (reasons == kContinues) add(one.token, 0.0F);
      reasons &= static_cast<std::uint8_t>(~kContinues);
    }
  }
  if (candidates_.size() > wanted_) keep_likeliest(wanted_);
  if (early_dry_) {
    for (const Repeats::Penalty& one : continuing) continued_[static_cast<std::size_t>(one.token)] = 0.0F;
  }
}

// `logit` with the penalties of what was used.
float Sampler::penalised(Token token, float logit) const {
  const std::uint32_t count = counts_.empty() ? 0 : counts_[static_cast<std::size_t>(token)];
  if (count == 0) return logit;
  logit = logit <= 0 ? logit * options_.repeat_penalty : logit / options_.repeat_penalty;
  return logit - (static_cast<float>(count) * options_.frequency_penalty + options_.presence_penalty);
}

void Sampler::push_adjusted(Token token, float logit, float bias) {
  logit = std::min(logit, kLargest) + bias;
  if (early_penalties_) logit = penalised(token, logit);
  if (early_dry_) logit -= continued_[static_cast<std::size_t>(token)];
  if (logit > kNever) candidates_.push_back({token, std::min(logit, kLargest), 0.0});
}

void Sampler::keep_likeliest(std::size_t count) {
  std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(count), candidates_.end(),
                   likelier);
  candidates_.resize(count);
}

void Sampler::accept(Token token) {
  if (token < 0 || static_cast<std::uint32_t>(token) >= vocabulary_) {
    throw Error(ErrorCode::Internal, fmt::format("token {} is not one of the vocabulary's {}", token, vocabulary_));
  }
  repeats_.accept(token);
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

void Sampler::forget_history() {
  for (const Token token : repeated_) {
    counts_[static_cast<std::size_t>(token)] = 0;
    adjusted_[static_cast<std::size_t>(token)] &= static_cast<std::uint8_t>(~kRepeated);
  }
  repeated_.clear();
  candidates_.clear();
  window_next_ = 0;
  window_used_ = 0;
  repeats_.reset();
}

void Sampler::reset() {
  forget_history();
  random_ = Random(seed_);
  surprise_ = 2.0 * options_.mirostat_tau;
  // As if the target had been met all along.
  const double weight = 1.0 / (1.0 - options_.adaptive_decay);
  adaptive_weight_ = weight;
  adaptive_sum_ = options_.adaptive_target * weight;
}

}  // namespace loadline::sample
