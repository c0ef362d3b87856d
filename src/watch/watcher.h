// Watcher: a thread that samples the machine while a model is loaded, and keeps what the judge says of it. It decides
// nothing and prints nothing: whoever made it is told, or asks.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "hardware/profile.h"
#include "watch/judge.h"
#include "watch/sources.h"

namespace loadline::watch {

// What happened, for those who ask later.
struct Event {
  std::uint64_t number = 0;  // 1 for the first
  std::int64_t at = 0;       // s since 1970
  std::uint64_t sample = 0;  // after which it was known; 1 for the first that was taken
  Change change;
};

struct Status {
  std::vector<Verdict> verdicts;  // that hold
  std::vector<Event> events;      // the last ones, the latest last
  Losses losses;
  std::optional<double> ratio;  // measured against predicted time of the last passes
  Sample last;
  std::uint64_t samples = 0;
  double own_seconds = 0;            // of processor time that watching took
  std::vector<std::string> missing;  // what this machine does not tell
};

class Watcher {
 public:
  struct Options {
    Sources sources;
    Promise promise;
    std::chrono::milliseconds period{250};
    // Called from the watching thread; may be empty. What it throws ends the watch, not the program.
    std::function<void(const Change&)> on_change;
  };

  explicit Watcher(Options options);
  // Waits for the sample that is being taken. What the sources read must live until then.
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // By any thread.
  [[nodiscard]] Status status() const;

 private:
  void run();
  void take_sample();

  Options options_;
  Judge judge_;  // of the thread
  Sample sample_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool ends_ = false;
  Status status_;
  std::thread thread_;
};

// What to watch of a loaded engine, which must outlive the watcher: this machine, its passes against what the profile
// promises.
Watcher::Options watch_engine(engine::Engine& engine, const hardware::Profile& profile);

}  // namespace loadline::watch
