// A pass of what is measured, timed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace loadline::hardware {

struct TimedPass {
  double seconds = 0;
  double share = 1;  // of the processors, that its threads got
};

// The middle one by its time; there is at least one. What a rate that predicts is taken from: memory is faster now and
// then, and slower.
inline TimedPass middle_of(std::vector<TimedPass> passes) {
  const auto middle = passes.begin() + static_cast<std::ptrdiff_t>(passes.size() / 2);
  std::ranges::nth_element(passes, middle, {}, &TimedPass::seconds);
  return *middle;
}

}  // namespace loadline::hardware
