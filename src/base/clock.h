// The clock that durations are taken with: it never jumps, and its beginning means nothing. Times that one module notes
// and another compares are all of this one.
#pragma once

#include <chrono>

namespace loadline {

inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace loadline
