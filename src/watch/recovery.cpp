#include "watch/recovery.h"

#include <algorithm>
#include <utility>

namespace loadline::watch {
namespace {

constexpr double kGap = 5;  // s between two inputs: what lies before it says nothing (the machine slept)

}  // namespace

Recovery::Advice Recovery::take(double time, bool trouble, bool room) {
  if (last_time_ && time - *last_time_ > kGap) trouble_since_ = room_since_ = std::nullopt;
  last_time_ = time;
  if (!trouble) {
    trouble_since_.reset();
  } else if (!trouble_since_) {
    trouble_since_ = time;
  }
  if (!room || trouble) {
    room_since_.reset();
  } else if (!room_since_) {
    room_since_ = time;
  }
  if (grew_at_ && time - *grew_at_ > times_.trusted_after) {
    grew_at_.reset();
    grow_wait_.reset();
  }
  if (given_ != Advice::Nothing || time < not_before_) return Advice::Nothing;
  if (trouble_since_ && time - *trouble_since_ >= times_.shrink_after) {
    given_ = Advice::Shrink;
  } else if (shrunk_ && room_since_ && time - *room_since_ >= grow_after()) {
    given_ = Advice::Grow;
  }
  return given_;
}

void Recovery::done(double time) {
  const Advice given = std::exchange(given_, Advice::Nothing);
  not_before_ = time + times_.between;
  trouble_since_ = room_since_ = std::nullopt;
  if (given == Advice::Shrink) {
    // It grew not long ago, and that did not last.
    if (grew_at_) grow_wait_ = std::min(2 * grow_after(), times_.longest_grow);
    grew_at_.reset();
    shrunk_ = true;
  } else if (given == Advice::Grow) {
    grew_at_ = time;
    shrunk_ = false;
  }
}

void Recovery::refused(double time) {
  given_ = Advice::Nothing;
  not_before_ = time + times_.grow_after;
  trouble_since_ = room_since_ = std::nullopt;
}

void Recovery::reset() {
  given_ = Advice::Nothing;
  shrunk_ = false;
  trouble_since_ = room_since_ = grew_at_ = grow_wait_ = std::nullopt;
}

}  // namespace loadline::watch
