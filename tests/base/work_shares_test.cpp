#include "base/work_shares.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/thread_pool.h"

namespace loadline {
namespace {

class WorkSharesTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, WorkSharesTest, testing::Values(1, 2, 3, 8));

// Shares of different lengths, one of them empty.
std::uint64_t length_of(int share) { return share == 1 ? 0 : 997 + static_cast<std::uint64_t>(share); }

TEST_P(WorkSharesTest, hand_out_every_item_once_use_after_use) {
  const int threads = GetParam();
  ThreadPool pool(threads);
  WorkShares shares(threads);
  std::vector<std::vector<int>> done(static_cast<std::size_t>(threads));
  for (int share = 0; share < threads; ++share) done[static_cast<std::size_t>(share)].assign(length_of(share), 0);
  constexpr int kRounds = 12;
  pool.run([&](int thread) noexcept {
    for (int round = 0; round < kRounds; ++round) {
      shares.renew((round + 1) % 2, thread);
      while (true) {
        const auto [share, begin, end] = shares.claim(round % 2, thread, 8, length_of);
        if (begin == end) break;
        for (std::uint64_t i = begin; i < end; ++i) done[static_cast<std::size_t>(share)][i]++;
      }
      pool.barrier().wait();
    }
  });
  for (const std::vector<int>& share : done) {
    for (const int count : share) ASSERT_EQ(count, kRounds);
  }
}

TEST(WorkShares, go_through_their_own_from_the_front_without_a_gap) {
  WorkShares shares(2);
  std::uint64_t next = 0;
  while (next < 100) {
    const auto [share, begin, end] = shares.claim(0, 0, 8, [](int) { return std::uint64_t{100}; });
    ASSERT_EQ(share, 0);
    ASSERT_EQ(begin, next);
    ASSERT_LE(end - begin, 8U);
    ASSERT_GT(end, begin);
    next = end;
  }
  EXPECT_EQ(next, 100U);
}

TEST(WorkShares, help_whoever_has_most_left_from_the_end) {
  WorkShares shares(3);
  const auto length = [](int share) { return std::uint64_t{share == 2 ? 50U : share == 1 ? 10U : 0U}; };
  const auto first = shares.claim(0, 0, 8, length);
  EXPECT_EQ(first.share, 2);
  EXPECT_EQ(first.begin, 42U);
  EXPECT_EQ(first.end, 50U);
  // Its owner goes on at the front meanwhile.
  const auto own = shares.claim(0, 2, 8, length);
  EXPECT_EQ(own.share, 2);
  EXPECT_EQ(own.begin, 0U);
  std::uint64_t left = 60 - 16;
  while (true) {
    const auto range = shares.claim(0, 0, 8, length);
    if (range.begin == range.end) break;
    left -= range.end - range.begin;
  }
  EXPECT_EQ(left, 0U);
}

TEST(WorkShares, end_in_small_pieces) {
  WorkShares shares(1);
  std::uint64_t last = 0;
  while (true) {
    const auto [share, begin, end] = shares.claim(3, 0, 8, [](int) { return std::uint64_t{20}; });
    if (begin == end) break;
    last = end - begin;
  }
  EXPECT_EQ(last, 1U);
}

TEST(WorkShares, are_full_again_once_renewed) {
  WorkShares shares(1);
  const auto length = [](int) { return std::uint64_t{3}; };
  while (true) {
    const auto range = shares.claim(5, 0, 8, length);
    if (range.begin == range.end) break;
  }
  shares.renew(5, 0);
  EXPECT_EQ(shares.claim(5, 0, 8, length).begin, 0U);
  EXPECT_EQ(shares.claim(4, 0, 8, length).begin, 0U) << "another use is another matter";
}

}  // namespace
}  // namespace loadline
