#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <numeric>
#include <vector>

namespace loadline {
namespace {

// One team that fits the processors (it polls) and one that cannot (it sleeps in the kernel and must be woken).
class ThreadPoolTest : public testing::TestWithParam<int> {
 protected:
  ThreadPoolTest() : pool_(GetParam()) {}
  [[nodiscard]] std::size_t threads() const { return static_cast<std::size_t>(GetParam()); }

  ThreadPool pool_;
};

INSTANTIATE_TEST_SUITE_P(Teams, ThreadPoolTest, testing::Values(1, 2, available_processors() + 3),
                         [](const auto& team) { return "threads_" + std::to_string(team.index); });

TEST_P(ThreadPoolTest, RunsTheFunctionOnceOnEveryThread) {
  EXPECT_EQ(pool_.threads(), GetParam());
  std::vector<std::atomic<int>> calls(threads());
  for (int round = 1; round <= 300; ++round) {
    pool_.run([&](int thread) noexcept { calls[static_cast<std::size_t>(thread)]++; });
    for (const std::atomic<int>& count : calls) ASSERT_EQ(count, round);
  }
}

TEST_P(ThreadPoolTest, TheCallerIsThreadZero) {
  const auto caller = std::this_thread::get_id();
  pool_.run([&](int thread) noexcept { EXPECT_EQ(std::this_thread::get_id() == caller, thread == 0); });
}

TEST_P(ThreadPoolTest, WhatWasWrittenBeforeABarrierIsVisibleToAllAfterIt) {
  constexpr int kRounds = 1000;
  std::vector<int> written(threads(), 0);  // plain memory: a missing barrier is a data race
  std::atomic<int> wrong = 0;
  pool_.run([&](int thread) noexcept {
    for (int round = 1; round <= kRounds; ++round) {
      written[static_cast<std::size_t>(thread)] = round;
      pool_.barrier().wait();
      for (const int value : written) wrong += value != round ? 1 : 0;
      pool_.barrier().wait();
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_P(ThreadPoolTest, WhatWasWrittenDuringARunIsVisibleToTheCallerAndToTheNextRun) {
  std::vector<int> values(threads(), 0);
  for (int round = 1; round <= 200; ++round) {
    pool_.run([&](int thread) noexcept { values[static_cast<std::size_t>(thread)] += 1; });
    ASSERT_EQ(std::accumulate(values.begin(), values.end(), 0), round * GetParam());
  }
}

TEST_P(ThreadPoolTest, ThreadsThatAreLateAreWaitedForAtEveryBarrier) {
  // A different thread is late at each barrier, long enough for the others to go to sleep.
  constexpr int kRounds = 100;
  std::atomic<int> arrived = 0;
  std::atomic<int> early = 0;
  pool_.run([&](int thread) noexcept {
    for (int round = 0; round < kRounds; ++round) {
      if (round % GetParam() == thread) {
        for (int i = 0; i < 200; ++i) sched_yield();
      }
      arrived++;
      pool_.barrier().wait();
      if (arrived < (round + 1) * GetParam()) early++;
      pool_.barrier().wait();
    }
  });
  EXPECT_EQ(early, 0);
  EXPECT_EQ(arrived, kRounds * GetParam());
}

TEST_P(ThreadPoolTest, AWorkQueueHandsOutEveryItemOnceInWholeMultiplesOfTheLeastRange) {
  constexpr std::uint64_t kItems = 10'000;
  constexpr std::uint64_t kLeast = 7;
  std::vector<int> done(kItems, 0);
  std::atomic<int> crooked = 0;
  WorkQueue queue;
  for (int round = 1; round <= 5; ++round) {
    queue.reset();
    pool_.run([&](int) noexcept {
      while (true) {
        const auto [begin, end] = queue.claim(kItems, GetParam(), kLeast);
        if (begin == end) break;
        if ((end - begin) % kLeast != 0 && end != kItems) crooked++;
        for (std::uint64_t i = begin; i < end; ++i) done[i]++;
      }
    });
    for (const int count : done) ASSERT_EQ(count, round);
  }
  EXPECT_EQ(crooked, 0);
}

TEST(WorkQueue, BeginsWithLargeRangesAndEndsWithSmallOnes) {
  WorkQueue queue;
  std::uint64_t last = 1'000;
  std::uint64_t next = 0;
  while (next < 1'000) {
    const auto [begin, end] = queue.claim(1'000, 2, 4);
    EXPECT_EQ(begin, next);
    EXPECT_LE(end - begin, last);
    last = end - begin;
    next = end;
  }
  EXPECT_EQ(last, 4U);
  const auto [begin, end] = queue.claim(1'000, 2, 4);
  EXPECT_EQ(begin, end);
}

TEST(ThreadPool, StopsItsThreadsWhetherTheyWereUsedOrNot) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(4);
    if (round % 2 == 0) pool.run([](int) noexcept {});
  }
}

TEST(WaitWord, ReturnsAtOnceWhereTheValueDiffersAlready) {
  WaitWord word;
  word.add(5);
  EXPECT_EQ(word.wait_while_equal(0, Patience::None), 5U);
  EXPECT_EQ(word.subtract(5), 0U);
  EXPECT_EQ(word.wait_while_equal(5, Patience::Polls), 0U);
}

TEST(WaitWord, NoWakeUpIsLostBetweenThreadsThatTakeTurnsSleeping) {
  // Each waits for the other's change and answers with its own. A lost wake-up is a deadlock: the test would not end.
  WaitWord ping;
  WaitWord pong;
  constexpr std::uint32_t kTurns = 5000;
  std::thread other([&] {
    for (std::uint32_t turn = 0; turn < kTurns; ++turn) {
      ping.wait_while_equal(turn, Patience::None);
      pong.add(1);
      pong.wake_all();
    }
  });
  for (std::uint32_t turn = 0; turn < kTurns; ++turn) {
    ping.add(1);
    ping.wake_all();
    pong.wait_while_equal(turn, Patience::None);
  }
  other.join();
  EXPECT_EQ(ping.load(), kTurns);
  EXPECT_EQ(pong.load(), kTurns);
}

TEST(AvailableProcessors, FollowsTheAffinityMask) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(available_processors(), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(::sched_getcpu(), &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(available_processors(), 1);
  EXPECT_EQ(patience_for(1), Patience::Polls);
  EXPECT_EQ(patience_for(2), Patience::None);
  ::sched_setaffinity(0, sizeof before, &before);
}

}  // namespace
}  // namespace loadline
