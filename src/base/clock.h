// The clocks that durations are taken with.
#pragma once

#include <time.h>

#include <chrono>

namespace loadline {

// It never jumps, and its beginning means nothing. Times that one module notes and another compares are all of this
// one.
inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What the calling thread has had of a processor. (That of the process may leave out what its other threads have run
// since the system last looked at them, which is longer ago than some measurements take.)
inline double thread_processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace loadline
