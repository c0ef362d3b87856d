// Recovery: when a model that is loaded should be made to take less, and when it may take more again. Pure: it asks no
// clock and plans nothing; the same inputs give the same advice. What the smaller and the larger plan are is its
// caller's affair.
#pragma once

#include <cstdint>
#include <optional>

namespace loadline::watch {

// A change is an interruption, and one that has to be taken back is two: so it waits until trouble has lasted, waits
// longer before it trusts that memory stays, and longer still each time that this was wrong.
struct RecoveryTimes {
  double shrink_after = 2;     // s of trouble without a break
  double grow_after = 30;      // s in which there was room without a break, at first
  double longest_grow = 1800;  // s
  double between = 10;         // s from one change to the next
  double trusted_after = 300;  // s without trouble after growing, after which that was right
};

class Recovery {
 public:
  explicit Recovery(const RecoveryTimes& times = {}) : times_(times) {}

  enum class Advice : std::uint8_t { Nothing, Shrink, Grow };
  // As it is at `time` (s, rising): whether a verdict says that memory is missing, and whether what was given up would
  // have room. Advice is given once; `done` or `refused` follows before there is more.
  Advice take(double time, bool trouble, bool room);

  // What was advised has been done.
  void done(double time);
  // It could not be: there is no such plan. The same advice comes again only after a long while.
  void refused(double time);

  // It took less than it was meant to, since its last advice to shrink.
  [[nodiscard]] bool shrunk() const { return shrunk_; }
  // Somebody else decided what is loaded.
  void reset();
  // How long there must be room before it grows, s.
  [[nodiscard]] double grow_after() const { return grow_wait_.value_or(times_.grow_after); }

 private:
  RecoveryTimes times_;
  Advice given_ = Advice::Nothing;  // and not answered
  bool shrunk_ = false;
  std::optional<double> trouble_since_, room_since_, grew_at_, last_time_;
  double not_before_ = 0;  // s: of the next change
  std::optional<double> grow_wait_;
};

}  // namespace loadline::watch
