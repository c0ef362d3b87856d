// What the files of the sampler share: the order of candidates, and keeping the first of them. Internal to the module.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "sample/sampler.h"

namespace loadline::sample {

inline constexpr float kLargest = std::numeric_limits<float>::max();
inline constexpr float kNever = -std::numeric_limits<float>::infinity();

// Room to gather in besides the candidates that are wanted: once it is full, one selection halves it.
inline constexpr std::size_t kSlack = 256;

// The order of likelihood. Token ids break ties, so that no sorting algorithm can show.
inline bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// Keeps the first candidates in the order of `before`, at least `least`, up to the one with which their weights
// together satisfy `reached`. Sorts only as far as it has to look.
template <class Before, class Reached>
void keep_first(std::vector<Candidate>& candidates, bool sorted, std::size_t least, Before before, Reached reached) {
  const auto begin = candidates.begin();
  std::size_t in_order = sorted ? candidates.size() : 0;
  double sum = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (i == in_order) {
      const std::size_t end = std::min(candidates.size(), std::max(kSlack, 4 * in_order));
      const auto from = begin + static_cast<std::ptrdiff_t>(in_order);
      const auto to = begin + static_cast<std::ptrdiff_t>(end);
      if (end < candidates.size()) std::nth_element(from, to, candidates.end(), before);
      std::sort(from, to, before);
      in_order = end;
    }
    sum += candidates[i].probability;
    if (reached(sum) && i + 1 >= least) {
      candidates.resize(i + 1);
      return;
    }
  }
}

}  // namespace loadline::sample
