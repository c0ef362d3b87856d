// Undelivered: how much of all answers the engine's thread has made and the network's has not taken yet. Where that is
// more than there is room for, the engine waits. It knows no answer.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/bytes.h"

namespace loadline::serve {

class Undelivered {
 public:
  explicit Undelivered(Bytes most) : most_(most) {}

  void add(Bytes bytes) {
    const std::lock_guard lock(mutex_);
    held_ += bytes;
    largest_ = std::max(largest_, held_);
  }
  void take(Bytes bytes) {
    {
      const std::lock_guard lock(mutex_);
      held_ -= bytes;
    }
    changed_.notify_all();
  }
  // Until no more than the most is left, or nobody will take anything any more.
  void wait_for_room() {
    std::unique_lock lock(mutex_);
    if (held_ <= most_ || abandoned_) return;
    waits_ = true;
    changed_.wait(lock, [&] { return held_ <= most_ || abandoned_; });
    waits_ = false;
  }
  void abandon() {
    {
      const std::lock_guard lock(mutex_);
      abandoned_ = true;
    }
    changed_.notify_all();
  }

  [[nodiscard]] bool waits() const {
    const std::lock_guard lock(mutex_);
    return waits_;
  }
  [[nodiscard]] Bytes held() const {
    const std::lock_guard lock(mutex_);
    return held_;
  }
  // That there ever was at one time.
  [[nodiscard]] Bytes largest() const {
    const std::lock_guard lock(mutex_);
    return largest_;
  }

 private:
  const Bytes most_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Bytes held_, largest_;
  bool waits_ = false, abandoned_ = false;
};

}  // namespace loadline::serve
