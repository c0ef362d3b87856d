#include "speculate/ngram_drafter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "base/error.h"

namespace loadline::speculate {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

NgramDrafter after(const std::vector<Token>& text, const NgramOptions& options = {}) {
  NgramDrafter drafter(options, 1000);
  drafter.append(text);
  return drafter;
}

TEST(NgramDrafter, ProposesWhatFollowedTheSameTokensBefore) {
  EXPECT_THAT(after({1, 2, 3, 4, 5, 9, 9, 2, 3}).draft(3), ElementsAre(4, 5, 9));
}

TEST(NgramDrafter, ProposesNothingWhereTheTextDoesNotRepeat) {
  EXPECT_THAT(after({1, 2, 3, 4, 5}).draft(8), IsEmpty());
  EXPECT_THAT(after({}).draft(8), IsEmpty());
  EXPECT_THAT(after({7}).draft(8), IsEmpty());
}

TEST(NgramDrafter, FewerTokensThanTheShortestNgramAreNoReason) {
  EXPECT_THAT(after({1, 2, 8, 2}, {.ngram_min = 2}).draft(8), IsEmpty());
  EXPECT_THAT(after({1, 2, 8, 2}, {.ngram_min = 1}).draft(1), ElementsAre(8));
}

TEST(NgramDrafter, PrefersTheLongestMatchAndOfThoseTheLatest) {
  // "2 3" was followed by 6 later, but "1 2 3" by 4; and "1 2 3" by 5 before that.
  EXPECT_THAT(after({1, 2, 3, 5, 1, 2, 3, 4, 0, 2, 3, 6, 1, 2, 3}).draft(1), ElementsAre(4));
  EXPECT_THAT(after({1, 2, 3, 4, 0, 2, 3, 6, 1, 2, 3}, {.ngram_max = 2}).draft(1), ElementsAre(6));
}

TEST(NgramDrafter, GoesOnInALoop) {
  EXPECT_THAT(after({5, 6, 7, 5, 6, 7, 5}).draft(8), ElementsAre(6, 7, 5, 6, 7, 5, 6, 7));
  EXPECT_THAT(after({4, 4, 4}).draft(5), ElementsAre(4, 4, 4, 4, 4));
}

TEST(NgramDrafter, GuessesLessAfterWrongGuessesAndMoreAfterRightOnes) {
  NgramDrafter drafter = after({4, 4, 4}, {.draft_max = 16});
  EXPECT_EQ(drafter.draft(100).size(), 16U);
  drafter.judge(0);
  EXPECT_EQ(drafter.draft(100).size(), 8U);
  drafter.judge(3);
  EXPECT_EQ(drafter.draft(100).size(), 8U);
  for (int i = 0; i < 10; ++i) {
    (void)drafter.draft(100);
    drafter.judge(0);
  }
  EXPECT_EQ(drafter.draft(100).size(), 1U) << "it never gives up";
  for (int i = 0; i < 10; ++i) drafter.judge(drafter.draft(100).size());
  EXPECT_EQ(drafter.draft(100).size(), 16U);
}

TEST(NgramDrafter, MakesNoGuessShorterThanItMay) {
  EXPECT_THAT(after({4, 4, 4}, {.draft_max = 8, .draft_min = 5}).draft(4), IsEmpty());
  EXPECT_EQ(after({4, 4, 4}, {.draft_max = 8, .draft_min = 5}).draft(5).size(), 5U);
}

TEST(NgramDrafter, ATextThatOutgrowsItEndsTheGuessing) {
  NgramDrafter drafter({}, 6);
  drafter.append(std::vector<Token>{4, 4, 4, 4});
  EXPECT_FALSE(drafter.draft(4).empty());
  drafter.append(std::vector<Token>{5, 6, 7, 8});
  EXPECT_THAT(drafter.draft(4), IsEmpty());
  drafter.reset();
  drafter.append(std::vector<Token>{4, 4, 4});
  EXPECT_FALSE(drafter.draft(4).empty());
}

TEST(NgramDrafter, RefusesOptionsThatContradictEachOther) {
  EXPECT_THROW(NgramDrafter({.draft_max = 0}, 10), Error);
  EXPECT_THROW(NgramDrafter({.draft_max = 4, .draft_min = 5}, 10), Error);
  EXPECT_THROW(NgramDrafter({.ngram_max = 2, .ngram_min = 3}, 10), Error);
  EXPECT_THROW(NgramDrafter({.ngram_min = 0}, 10), Error);
}

// Against the definition: the longest n-gram first, for each the latest place.
std::vector<Token> by_definition(const std::vector<Token>& text, const NgramOptions& options, std::size_t most) {
  for (std::size_t n = options.ngram_max; n >= options.ngram_min; --n) {
    for (std::size_t begin = text.size(); begin-- > 0;) {
      if (begin + n >= text.size()) continue;
      if (!std::equal(text.end() - static_cast<std::ptrdiff_t>(n), text.end(),
                      text.begin() + static_cast<std::ptrdiff_t>(begin))) {
        continue;
      }
      std::vector<Token> longer = text;
      for (std::size_t i = 0; i < most; ++i) longer.push_back(longer[begin + n + i]);
      return {longer.begin() + static_cast<std::ptrdiff_t>(text.size()), longer.end()};
    }
  }
  return {};
}

TEST(NgramDrafter, AgreesWithItsDefinitionOnAnyText) {
  EXPECT_TRUE(rc::check([] {
    const auto text = *rc::gen::container<std::vector<Token>>(rc::gen::inRange(0, 3));
    const auto longest = *rc::gen::inRange<std::uint32_t>(1, 6);
    const NgramOptions options{
        .draft_max = 7, .ngram_max = longest, .ngram_min = *rc::gen::inRange<std::uint32_t>(1, longest + 1)};
    RC_PRE(text.size() > options.ngram_max);
    NgramDrafter drafter(options, text.size() + 1);
    drafter.append(text);
    const auto draft = drafter.draft(7);
    RC_ASSERT(std::vector<Token>(draft.begin(), draft.end()) == by_definition(text, options, 7));
  }));
}

}  // namespace
}  // namespace loadline::speculate
