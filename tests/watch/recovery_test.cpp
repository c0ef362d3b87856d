// When a loaded model is made to take less, and more again, with times that are only numbers.
#include "watch/recovery.h"

#include <gtest/gtest.h>

#include <vector>

namespace loadline::watch {
namespace {

using Advice = Recovery::Advice;

constexpr double kStep = 0.5;  // s

// Goes on in steps; what is advised is done at once.
class Story {
 public:
  void lasts(double seconds, bool trouble, bool room) {
    for (const double end = time_ + seconds; time_ < end; time_ += kStep) {
      const Advice advice = recovery.take(time_, trouble, room);
      if (advice == Advice::Nothing) continue;
      changes.push_back(advice);
      at.push_back(time_);
      recovery.done(time_);
    }
  }
  void sleeps(double seconds) { time_ += seconds; }

  Recovery recovery;
  std::vector<Advice> changes;
  std::vector<double> at;

 private:
  double time_ = 100;
};

TEST(Recovery, NothingIsChangedWhereNothingIsWrong) {
  Story story;
  story.lasts(3600, false, true);
  EXPECT_TRUE(story.changes.empty());
}

TEST(Recovery, TroubleThatPassesIsSatOut) {
  Story story;
  for (int i = 0; i < 500; ++i) {
    story.lasts(1.5, true, false);
    story.lasts(0.5, false, true);
  }
  EXPECT_TRUE(story.changes.empty());
}

TEST(Recovery, TroubleThatLastsShrinksAndRoomThatStaysGrowsAgain) {
  Story story;
  story.lasts(10, false, false);
  story.lasts(5, true, false);
  EXPECT_EQ(story.changes, (std::vector{Advice::Shrink}));
  EXPECT_TRUE(story.recovery.shrunk());
  story.lasts(100, false, false);
  EXPECT_EQ(story.changes.size(), 1U) << "there is no room";
  story.lasts(29, false, true);
  EXPECT_EQ(story.changes.size(), 1U) << "it may not stay";
  story.lasts(1, false, false);
  story.lasts(29, false, true);
  EXPECT_EQ(story.changes.size(), 1U) << "the time begins anew";
  story.lasts(10, false, true);
  EXPECT_EQ(story.changes, (std::vector{Advice::Shrink, Advice::Grow}));
  EXPECT_FALSE(story.recovery.shrunk());
}

TEST(Recovery, MoreIsGivenUpWhereTroubleGoesOnButNotAtOnce) {
  Story story;
  story.lasts(20, true, false);
  ASSERT_EQ(story.changes, (std::vector{Advice::Shrink, Advice::Shrink}));
  EXPECT_GE(story.at[1] - story.at[0], 10);
}

// Somebody who takes memory each time that it was taken back: a day of that is few changes.
TEST(Recovery, WhoTakesMemoryOverAndOverCausesNoFlapping) {
  Recovery recovery;
  int changes = 0;
  for (double time = 0; time < 24 * 3600; time += kStep) {
    const bool taken = static_cast<int>(time) % 60 < 20;
    if (recovery.take(time, taken && !recovery.shrunk(), !taken) == Advice::Nothing) continue;
    ++changes;
    recovery.done(time);
  }
  EXPECT_LE(changes, 3);
}

TEST(Recovery, EachTimeThatGrowingWasWrongItWaitsTwiceAsLong) {
  Story story;
  double last = 0;
  for (int i = 0; i < 4; ++i) {
    while (!story.recovery.shrunk()) story.lasts(1, true, false);
    const double waits = story.recovery.grow_after();
    EXPECT_GT(waits, last);
    last = waits;
    while (story.recovery.shrunk()) story.lasts(1, false, true);
  }
  story.lasts(400, false, true);
  EXPECT_EQ(story.recovery.grow_after(), 30) << "it stayed, and is trusted again";
}

TEST(Recovery, WhatTheMachineSleptThroughDoesNotCount) {
  Story story;
  story.lasts(1.5, true, false);
  story.sleeps(3600);
  story.lasts(1.5, true, false);
  EXPECT_TRUE(story.changes.empty());
}

TEST(Recovery, WhatCannotBeDoneIsNotAdvisedAgainAndAgain) {
  Recovery recovery;
  int advised = 0;
  for (double time = 0; time < 600; time += kStep) {
    if (recovery.take(time, true, false) == Advice::Nothing) continue;
    ++advised;
    recovery.refused(time);
  }
  EXPECT_LE(advised, 20);
  EXPECT_FALSE(recovery.shrunk());
}

}  // namespace
}  // namespace loadline::watch
