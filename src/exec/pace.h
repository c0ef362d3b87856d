// Pace: how long a pass of so many tokens takes, by prediction. It says how much of a prompt may go into a pass that
// others wait for.
#pragma once

#include <algorithm>
#include <cstdint>

#include "plan/plan.h"

namespace loadline::exec {

// A pass reads the weights once, which is what it takes for a few tokens, and multiplies them with each token, which is
// what it takes for many. Both come from the plan's prediction, corrected by what passes took since: others use the
// machine too, and a long context takes longer than the short one that was predicted. Not thread-safe.
class Pace {
 public:
  explicit Pace(const plan::Prediction& prediction)
      : least_(prediction.generation_rate > 0 ? 1 / prediction.generation_rate : 0),
        per_token_(prediction.prompt_rate > 0 ? 1 / prediction.prompt_rate : 0) {}

  [[nodiscard]] double seconds(std::uint64_t tokens) const {
    return std::max(least_ * few_, per_token_ * many_ * static_cast<double>(tokens));
  }

  // The most tokens of a pass that is no longer than so many seconds, at least one; where reading the weights alone
  // takes longer, as many as cost nothing on top of that.
  [[nodiscard]] std::uint32_t tokens_within(double seconds, std::uint32_t most) const {
    const double budget = std::max(seconds, least_ * few_);
    const double each = per_token_ * many_;
    if (each <= 0 || budget >= each * most) return most;
    return std::max(1U, static_cast<std::uint32_t>(budget / each));
  }

  // What a pass took.
  void learn(std::uint64_t tokens, double seconds) {
    const double reading = least_;
    const double multiplying = per_token_ * static_cast<double>(tokens);
    const double predicted = std::max(reading, multiplying);
    if (predicted <= 0 || seconds <= 0) return;
    // A quarter of each pass, so that a single slow one is soon forgotten; within limits, since a prediction that far
    // off says nothing of the next pass either.
    constexpr double kShare = 0.25;
    constexpr double kMost = 16;
    double& slower = multiplying > reading ? many_ : few_;
    slower = std::clamp(slower + kShare * (seconds / predicted - slower), 1 / kMost, kMost);
  }

 private:
  double least_;      // s: any pass
  double per_token_;  // s
  double few_ = 1;    // how much longer passes of either kind take than was predicted
  double many_ = 1;
};

}  // namespace loadline::exec
