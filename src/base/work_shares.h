// Splits work so that each thread reads memory in one long run: a share of its own, from its beginning on without a
// gap, and when that is used up, pieces from the ends of others' shares, so that all finish together.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace loadline {

// For a team of threads that meets at a barrier between one use and the next. There are kUses, for those that follow
// each other without one, times two: before a barrier every thread renews its part of those after it.
class WorkShares {
 public:
  static constexpr int kUses = 6;

  explicit WorkShares(int threads) : shares_(static_cast<std::size_t>(threads)) {}

  // Items [begin, end) of a share; none: begin == end.
  struct Range {
    int share;
    std::uint64_t begin, end;
  };

  // The next items for `thread`, at most `most` and fewer towards a share's end. length(share) is how many items that
  // share has, below 2^32, the same for all threads.
  template <class Length>
  Range claim(int use, int thread, std::uint64_t most, Length&& length) {
    const Range own = take(End::Front, use, thread, most, length(thread));
    if (own.begin != own.end) return own;
    while (true) {
      int fullest = thread;
      std::uint64_t left = 0;
      for (int other = 0; other < static_cast<int>(shares_.size()); ++other) {
        const std::uint64_t there = left_of(taken(use, other).load(std::memory_order_relaxed), length(other));
        if (there > left) {
          left = there;
          fullest = other;
        }
      }
      if (left == 0) return {thread, 0, 0};
      const Range range = take(End::Back, use, fullest, most, length(fullest));
      if (range.begin != range.end) return range;
    }
  }

  // Makes a use ready for the next time, for `thread`: while nobody claims from it.
  void renew(int use, int thread) { taken(use, thread).store(0, std::memory_order_relaxed); }

 private:
  // How many items are taken from the front (low half) and from the back.
  struct alignas(64) Share {
    std::atomic<std::uint64_t> taken[kUses] = {};
  };
  static constexpr std::uint64_t kFront = 0xFFFFFFFF;

  std::atomic<std::uint64_t>& taken(int use, int share) {
    return shares_[static_cast<std::size_t>(share)].taken[static_cast<std::size_t>(use)];
  }
  static std::uint64_t left_of(std::uint64_t taken, std::uint64_t length) {
    return length - (taken & kFront) - (taken >> 32);
  }
  // Half of what is left, so that whoever comes late still finds something.
  static std::uint64_t piece(std::uint64_t left, std::uint64_t most) { return std::min(most, (left + 1) / 2); }

  enum class End : std::uint8_t { Front, Back };
  Range take(End end, int use, int share, std::uint64_t most, std::uint64_t length) {
    std::atomic<std::uint64_t>& word = taken(use, share);
    std::uint64_t now = word.load(std::memory_order_relaxed);
    while (true) {
      const std::uint64_t count = piece(left_of(now, length), most);
      if (count == 0) return {share, 0, 0};
      const std::uint64_t more = end == End::Front ? count : count << 32;
      if (!word.compare_exchange_weak(now, now + more, std::memory_order_relaxed)) continue;
      const std::uint64_t begin = end == End::Front ? now & kFront : length - (now >> 32) - count;
      return {share, begin, begin + count};
    }
  }

  std::vector<Share> shares_;
};

}  // namespace loadline
