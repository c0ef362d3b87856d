// Pace: how long a pass of so many tokens takes, by prediction. It says how much of a prompt may go into a pass that
// others wait for.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "plan/plan.h"

namespace loadline::exec {

// A pass reads the weights once, which is what it takes for a few tokens, and multiplies them with each token, which is
// what it takes for many. Both come from the plan's prediction, corrected by what passes took since: others use the
// machine too, kernels change their ways with the number of tokens, and a long context takes longer than the short one
// that was predicted. What was learned of passes of 5 tokens says little of those of 500, so each range of sizes from a
// power of two to the next has a correction of its own. Not thread-safe.
class Pace {
 public:
  explicit Pace(const plan::Prediction& prediction)
      : least_(prediction.generation_rate > 0 ? 1 / prediction.generation_rate : 0),
        per_token_(prediction.prompt_rate > 0 ? 1 / prediction.prompt_rate : 0) {}

  [[nodiscard]] double seconds(std::uint64_t tokens) const { return predicted(tokens) * slower(range_of(tokens)); }

  // The most tokens of a pass that is no longer than so many seconds, at least one; where a pass of one token takes
  // longer, as many as cost nothing on top of that.
  [[nodiscard]] std::uint32_t tokens_within(double seconds_at_most, std::uint32_t most) const {
    const double budget = std::max(seconds_at_most, seconds(1));
    for (std::size_t range = range_of(most) + 1; range-- > 0;) {
      const std::uint32_t first = 1U << range;
      const std::uint32_t last = std::min(most, 2 * first - 1);
      const double each = per_token_ * slower(range);
      if (least_ * slower(range) > budget || each * first > budget) continue;
      return budget >= each * last ? last : std::max(first, static_cast<std::uint32_t>(budget / each));
    }
    return 1;
  }

  // What a pass took.
  void learn(std::uint64_t tokens, double took) {
    if (predicted(tokens) <= 0 || took <= 0) return;
    const std::size_t range = range_of(tokens);
    const double now = std::clamp(took / predicted(tokens), 1 / kMost, kMost);
    double& known = slower_[range];
    known = known == kUnknown ? now : known + kShare * (now - known);
    // A range that was slow is not chosen again, and so would stay slow for ever: it forgets, and is tried again.
    for (double& other : slower_) {
      if (&other != &known && other > now) other += kForgotten * (now - other);
    }
  }

 private:
  static constexpr std::size_t kRanges = 20;  // up to a million tokens
  static constexpr double kUnknown = 0;
  // A quarter of each pass, so that a single slow one is soon forgotten; within limits, since a prediction that far off
  // says nothing of the next pass either.
  static constexpr double kShare = 0.25;
  static constexpr double kForgotten = 1.0 / 64;
  static constexpr double kMost = 16;

  static std::size_t range_of(std::uint64_t tokens) {
    return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(std::max<std::uint64_t>(tokens, 1))) - 1,
                                 kRanges - 1);
  }
  [[nodiscard]] double predicted(std::uint64_t tokens) const {
    return std::max(least_, per_token_ * static_cast<double>(tokens));
  }
  // How much longer passes of a range take than was predicted: where none was seen, as much as the nearest.
  [[nodiscard]] double slower(std::size_t range) const {
    for (std::size_t off = 0; off < kRanges; ++off) {
      if (off <= range && slower_[range - off] != kUnknown) return slower_[range - off];
      if (range + off < kRanges && slower_[range + off] != kUnknown) return slower_[range + off];
    }
    return 1;
  }

  double least_;      // s: any pass
  double per_token_;  // s
  std::array<double, kRanges> slower_{};
};

}  // namespace loadline::exec
