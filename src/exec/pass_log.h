// PassLog: what the last passes were made of and how long they took. Written by the thread that runs them, read by
// anyone at any time. It judges nothing.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

namespace loadline::exec {

inline constexpr std::size_t kLoggedDevices = 8;  // those of a plan after that have no figures of their own

struct PassRecord {
  std::uint64_t number = 0;                      // 1 for the first
  double began = 0;                              // s, std::chrono::steady_clock
  double seconds = 0;                            // what it took
  std::uint64_t tokens = 0;                      // of all its sequences together
  std::uint64_t sequences = 0;                   // that have some
  std::uint64_t outputs = 0;                     // rows of logits
  std::uint64_t depth = 0;                       // cells that its sequences have after it, together
  double waited = 0;                             // s, for weights from disk
  std::array<double, kLoggedDevices> busy = {};  // s, per device of the plan, what it waited for included
};

// Of all passes that were completed; stopped ones are not told from those that never were.
struct PassTotals {
  std::uint64_t passes = 0;
  double seconds = 0;
};

// Never allocates.
class PassLog {
 public:
  void begin(const PassRecord& pass) {
    const std::lock_guard lock(mutex_);
    running_ = pass;
    is_running_ = true;
  }
  // `done`: it was completed, as `pass` says now.
  void end(const PassRecord& pass, bool done) {
    const std::lock_guard lock(mutex_);
    is_running_ = false;
    if (!done) return;
    PassRecord& slot = last_[totals_.passes % kKept];
    slot = pass;
    slot.number = ++totals_.passes;
    totals_.seconds += pass.seconds;
    if (pass.tokens >= kLargeTokens) large_[large_passes_++ % kKeptLarge] = slot;
  }

  [[nodiscard]] PassTotals totals() const {
    const std::lock_guard lock(mutex_);
    return totals_;
  }
  // The pass that runs. False: none does.
  bool running(PassRecord& pass) const {
    const std::lock_guard lock(mutex_);
    if (is_running_) pass = running_;
    return is_running_;
  }
  // The last passes with a number above `after`, the latest last, as many as `records` holds or are kept. How many.
  std::size_t read(std::uint64_t after, std::span<PassRecord> records) const {
    const std::lock_guard lock(mutex_);
    std::uint64_t count = totals_.passes > after ? totals_.passes - after : 0;
    count = std::min<std::uint64_t>({count, records.size(), kKept});
    for (std::uint64_t i = 0; i < count; ++i) records[i] = last_[(totals_.passes - count + i) % kKept];
    return static_cast<std::size_t>(count);
  }

  // Likewise the last passes of many tokens, however long ago.
  std::size_t read_large(std::span<PassRecord> records) const {
    const std::lock_guard lock(mutex_);
    const std::uint64_t count = std::min<std::uint64_t>({large_passes_, records.size(), kKeptLarge});
    for (std::uint64_t i = 0; i < count; ++i) records[i] = large_[(large_passes_ - count + i) % kKeptLarge];
    return static_cast<std::size_t>(count);
  }

  static constexpr std::uint64_t kLargeTokens = 16;  // it is arithmetic, not reading, that takes the time

 private:
  static constexpr std::size_t kKept = 32;
  static constexpr std::size_t kKeptLarge = 8;
  mutable std::mutex mutex_;
  std::array<PassRecord, kKept> last_;
  std::array<PassRecord, kKeptLarge> large_;
  std::uint64_t large_passes_ = 0;
  PassRecord running_;
  bool is_running_ = false;
  PassTotals totals_;
};

}  // namespace loadline::exec
