// What the commands share about the terminal: whether there is one, colours, a progress bar, and Ctrl-C.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>

namespace loadline::cli {

// Standard error, or standard output, is a terminal.
bool stderr_is_terminal();
bool stdout_is_terminal();

// A line on standard error that says how far something is, redrawn in place. Shows itself only on a terminal, and only
// once a second has passed since it was made, so that quick work leaves no trace. Erased on destruction.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `done` in [0, 1]; `detail` follows the bar ("1.2 of 4.4 GiB").
  void update(double done, std::string_view detail);

 private:
  std::string what_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
  bool visible_ = false;
};

// What is being done, on a line of standard error that goes before anything else is written. Only on a terminal; erased
// on destruction.
class StatusLine {
 public:
  StatusLine() = default;
  ~StatusLine() { erase(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  void show(std::string_view what);
  void erase();

 private:
  bool shown_ = false;
};

// From construction on, Ctrl-C (and SIGTERM, and SIGHUP, as when the terminal goes away) sets the flag instead of
// ending the process; the `fatal`th one ends it at once. A signal that was ignored before, as by nohup, stays so. At
// most one at a time.
class StopOnInterrupt {
 public:
  explicit StopOnInterrupt(int fatal = 2);
  ~StopOnInterrupt();
  StopOnInterrupt(const StopOnInterrupt&) = delete;
  StopOnInterrupt& operator=(const StopOnInterrupt&) = delete;

  [[nodiscard]] const std::atomic<bool>& flag() const;
  // Sleeps until a signal comes, or `wake` is called: once for each of them.
  void wait() const;
  // From any thread.
  static void wake();
};

// That flag, which is false while there is no StopOnInterrupt.
const std::atomic<bool>* interrupted_flag();

}  // namespace loadline::cli
