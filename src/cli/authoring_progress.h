// What synth and quantize share: a bar that follows the bytes, and Ctrl-C.
#pragma once

#include <chrono>

#include "authoring/synthesize.h"
#include "cli/terminal.h"

namespace loadline::cli {

// While it lives, Ctrl-C makes the next call of progress() throw Error(Interrupted), which leaves no file behind.
class AuthoringProgress {
 public:
  explicit AuthoringProgress(std::string what);

  // For synthesize and requantize; refers to this object.
  authoring::Progress progress();

  // Since construction.
  [[nodiscard]] double seconds() const;

 private:
  StopOnInterrupt interrupt_;
  ProgressBar bar_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace loadline::cli
