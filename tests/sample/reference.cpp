#include "reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace loadline::sample::test {
namespace {

struct Entry {
  Token token;
  float logit;
};

std::vector<double> softmax(const std::vector<Entry>& entries, double temperature) {
  double largest = -INFINITY;
  for (const Entry& entry : entries) largest = std::max(largest, double{entry.logit});
  std::vector<double> p;
  for (const Entry& entry : entries) p.push_back(std::exp((entry.logit - largest) / temperature));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= total;
  return p;
}

void sort_by_likelihood(std::vector<Entry>& entries) {
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  });
}

std::vector<Entry> adjusted(const Options& options, std::span<const float> logits, std::span<const Token> history) {
  const std::size_t window =
      options.repeat_last_n < 0 ? history.size() : static_cast<std::size_t>(options.repeat_last_n);
  if (history.size() > window) history = history.last(window);
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto token = static_cast<Token>(i);
    float logit = logits[i];
    if (std::isnan(logit)) continue;
    logit = std::min(logit, std::numeric_limits<float>::max());
    // Several biases of one token are added to each other first, the smallest first: floats round.
    std::vector<float> biases;
    for (const LogitBias& bias : options.logit_bias) {
      if (bias.token == token) biases.push_back(bias.bias);
    }
    std::ranges::sort(biases);
    logit += std::accumulate(biases.begin(), biases.end(), 0.0F);
    const auto occurrences = static_cast<float>(std::ranges::count(history, token));
    if (occurrences > 0) {
      logit = logit > 0 ? logit / options.repeat_penalty : logit * options.repeat_penalty;
      logit -= occurrences * options.frequency_penalty + options.presence_penalty;
    }
    if (logit == -INFINITY) continue;
    entries.push_back({token, std::min(logit, std::numeric_limits<float>::max())});
  }
  return entries;
}

// How many of the entries, with probabilities `p` in the given order, are needed to reach `share`.
std::size_t needed(const std::vector<double>& p, double share, bool beyond, bool& ambiguous) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    sum += p[i];
    if (i + 1 < p.size() && std::abs(sum - share) < 1e-9) ambiguous = true;
    if (beyond ? sum > share : sum >= share) return i + 1;
  }
  return p.size();
}

void typical(std::vector<Entry>& entries, double share, bool& ambiguous) {
  const std::vector<double> p = softmax(entries, 1);
  double entropy = 0;
  for (const double value : p) {
    if (value > 0) entropy -= value * std::log(value);
  }
  std::vector<std::size_t> order(entries.size());
  std::iota(order.begin(), order.end(), 0);
  const auto distance = [&](std::size_t i) { return std::abs(-std::log(p[i]) - entropy); };
  std::ranges::stable_sort(order, {}, distance);
  std::vector<Entry> sorted;
  std::vector<double> sorted_p;
  for (const std::size_t i : order) {
    if (!sorted.empty() && sorted.back().logit != entries[i].logit) {
      const double gap = distance(i) - distance(order[sorted.size() - 1]);
      if (!(gap > 1e-9)) ambiguous = true;
    }
    sorted.push_back(entries[i]);
    sorted_p.push_back(p[i]);
  }
  sorted.resize(needed(sorted_p, share, true, ambiguous));
  entries = sorted;
}

}  // namespace

Distribution reference_distribution(const Options& options, std::span<const float> logits,
                                    std::span<const Token> history) {
  Distribution result;
  std::vector<Entry> entries = adjusted(options, logits, history);
  if (entries.empty()) return result;
  sort_by_likelihood(entries);
  if (options.temperature == 0) {
    result.probabilities[entries[0].token] = 1.0;
    return result;
  }
  if (options.top_k > 0 && static_cast<std::size_t>(options.top_k) < entries.size()) {
    entries.resize(static_cast<std::size_t>(options.top_k));
  }
  if (options.typical_p < 1) typical(entries, options.typical_p, result.ambiguous);
  sort_by_likelihood(entries);
  if (options.top_p < 1) {
    entries.resize(needed(softmax(entries, 1), options.top_p, false, result.ambiguous));
  }
  const std::vector<double> before = softmax(entries, 1);
  std::vector<Entry> kept;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const double least = options.min_p * before[0];
    if (before[i] != before[0] && std::abs(before[i] - least) < 1e-9 * before[0]) result.ambiguous = true;
    if (before[i] >= least) kept.push_back(entries[i]);
  }
  const std::vector<double> p = softmax(kept, options.temperature);
  for (std::size_t i = 0; i < kept.size(); ++i) result.probabilities[kept[i].token] = p[i];
  return result;
}

}  // namespace loadline::sample::test
