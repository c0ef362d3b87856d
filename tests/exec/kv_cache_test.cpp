#include "exec/kv_cache.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

constexpr std::uint32_t kCells = quant::kKvPageCells;

TEST(KvCache, GivesPagesAsASequenceGrowsAndTakesThemBackWhenItIsCut) {
  KvCache cache(4, 2, 4 * kCells);
  EXPECT_EQ(cache.room(0), 4 * kCells);
  ASSERT_TRUE(cache.extend(0, kCells + 1));
  EXPECT_EQ(cache.length(0), kCells + 1);
  EXPECT_EQ(cache.pages(0)[0], 0U);
  EXPECT_EQ(cache.pages(0)[1], 1U);
  EXPECT_EQ(cache.room(0), 3 * kCells - 1);
  EXPECT_EQ(cache.room(1), 2 * kCells);
  cache.truncate(0, kCells);
  EXPECT_EQ(cache.room(1), 3 * kCells);
}

TEST(KvCache, RefusesWhatDoesNotFitAndChangesNothing) {
  KvCache cache(2, 2, 2 * kCells);
  ASSERT_TRUE(cache.extend(1, kCells));
  EXPECT_FALSE(cache.extend(0, kCells + 1));
  EXPECT_EQ(cache.length(0), 0U);
  EXPECT_TRUE(cache.extend(0, kCells));
  EXPECT_FALSE(cache.extend(1, 1));
  EXPECT_EQ(cache.length(1), kCells);
}

TEST(KvCache, NoSequenceOutgrowsItsShare) {
  KvCache cache(4, 2, 2 * kCells);
  EXPECT_EQ(cache.room(0), 2 * kCells);
  EXPECT_FALSE(cache.extend(0, 2 * kCells + 1));
  EXPECT_TRUE(cache.extend(0, 2 * kCells));
  EXPECT_EQ(cache.room(0), 0U);
  EXPECT_EQ(cache.room(1), 2 * kCells);
}

TEST(KvCache, TruncatingBeyondTheEndKeepsEverything) {
  KvCache cache(2, 1, 2 * kCells);
  ASSERT_TRUE(cache.extend(0, 5));
  cache.truncate(0, 100);
  EXPECT_EQ(cache.length(0), 5U);
}

TEST(KvCache, NeverGivesAPageTwiceWhateverTheHistory) {
  std::mt19937 random(7);
  KvCache cache(13, 4, 13 * kCells);
  for (int step = 0; step < 5000; ++step) {
    const std::uint32_t sequence = random() % 4;
    if (random() % 3 != 0) {
      const std::uint32_t cells = random() % 70;
      const std::uint32_t room = cache.room(sequence);
      EXPECT_EQ(cache.extend(sequence, cells), cells <= room);
    } else {
      cache.truncate(sequence, random() % (cache.length(sequence) + 1));
    }
    std::set<std::uint32_t> used;
    std::size_t held = 0;
    for (std::uint32_t s = 0; s < 4; ++s) {
      const std::uint32_t pages = (cache.length(s) + kCells - 1) / kCells;
      held += pages;
      for (std::uint32_t i = 0; i < pages; ++i) {
        used.insert(cache.pages(s)[i]);
        ASSERT_LT(cache.pages(s)[i], 13U);
      }
    }
    ASSERT_EQ(used.size(), held);
  }
}

}  // namespace
}  // namespace loadline::exec
