#include "exec/kv_cache.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <set>

#include "base/error.h"
#include "plan/cache_pages.h"
#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

constexpr std::uint32_t kCells = quant::kKvPageCells;

// Copies nothing and remembers what it was asked for.
class Copier final : public PageCopier {
 public:
  bool copy_page(PageIndex from, PageIndex to) override {
    copies.emplace_back(from, to);
    return able;
  }
  bool copy_window_page(PageIndex from, PageIndex to) override {
    window_copies.emplace_back(from, to);
    return able_windows;
  }
  bool able = true;
  bool able_windows = true;
  std::vector<std::pair<PageIndex, PageIndex>> copies;
  std::vector<std::pair<PageIndex, PageIndex>> window_copies;
};

std::vector<Token> text(std::size_t count, Token first = 0) {
  std::vector<Token> tokens(count);
  for (std::size_t i = 0; i < count; ++i) tokens[i] = first + static_cast<Token>(i % 1000);
  return tokens;
}

void compute(KvCache& cache, std::uint32_t sequence, std::span<const Token> tokens) {
  ASSERT_TRUE(cache.extend(sequence, static_cast<std::uint32_t>(tokens.size())));
  cache.commit(sequence, tokens);
}

TEST(KvCache, GivesPagesAsASequenceGrowsAndTakesThemBackWhenItIsCut) {
  KvCache cache(4, 2, 4 * kCells);
  EXPECT_EQ(cache.room(0), 4 * kCells);
  ASSERT_TRUE(cache.extend(0, kCells + 1));
  EXPECT_EQ(cache.length(0), kCells + 1);
  EXPECT_EQ(cache.pages(0)[0], 0U);
  EXPECT_EQ(cache.pages(0)[1], 1U);
  EXPECT_EQ(cache.room(0), 3 * kCells - 1);
  EXPECT_EQ(cache.room(1), 2 * kCells);
  cache.cut(0, kCells);
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

TEST(KvCache, AllCellsAreOnePoolAndNoSequenceOutgrowsItsMost) {
  KvCache cache(4, 2, 3 * kCells);
  EXPECT_FALSE(cache.extend(0, 3 * kCells + 1));
  EXPECT_TRUE(cache.extend(0, 3 * kCells));
  EXPECT_EQ(cache.room(0), 0U);
  EXPECT_EQ(cache.room(1), kCells);
}

TEST(KvCache, CuttingBeyondTheEndKeepsEverything) {
  KvCache cache(2, 1, 2 * kCells);
  ASSERT_TRUE(cache.extend(0, 5));
  cache.cut(0, 100);
  EXPECT_EQ(cache.length(0), 5U);
}

TEST(KvCache, RefusesSequencesAndTokensThatAreNotThere) {
  KvCache cache(2, 2, 2 * kCells);
  EXPECT_THROW(static_cast<void>(cache.length(2)), Error);
  EXPECT_THROW(cache.extend(2, 1), Error);
  EXPECT_THROW(cache.cut(7, 0), Error);
  ASSERT_TRUE(cache.extend(0, 3));
  EXPECT_THROW(cache.commit(0, text(4)), Error);
  EXPECT_THROW(cache.adopt(0, text(4), 4), Error) << "a sequence that has begun";
}

TEST(KvCache, ASequenceBeginsWithThePagesOfAnotherThatBeginsAlike) {
  Copier copier;
  KvCache cache(6, 2, 6 * kCells, &copier);
  const std::vector<Token> tokens = text(2 * kCells + 5);
  compute(cache, 0, tokens);
  std::vector<Token> other = tokens;
  other.push_back(999);
  EXPECT_EQ(cache.shared_cells(other, 1000), tokens.size());
  EXPECT_EQ(cache.pages_taken_by(other, 1000), 1U);
  EXPECT_EQ(cache.adopt(1, other, 1000), tokens.size());
  EXPECT_EQ(cache.pages(1)[0], cache.pages(0)[0]);
  EXPECT_EQ(cache.pages(1)[1], cache.pages(0)[1]);
  EXPECT_NE(cache.pages(1)[2], cache.pages(0)[2]) << "the one in which they part is copied";
  ASSERT_EQ(copier.copies.size(), 1U);
  EXPECT_EQ(copier.copies[0], std::pair(cache.pages(0)[2], cache.pages(1)[2]));
  EXPECT_EQ(cache.available_pages(), 2U);
}

TEST(KvCache, WhatIsSharedEndsWhereTheTextsPartAndWhereTheCallerSays) {
  Copier copier;
  KvCache cache(8, 3, 8 * kCells, &copier);
  const std::vector<Token> tokens = text(3 * kCells);
  compute(cache, 0, tokens);
  std::vector<Token> other = tokens;
  other[kCells + 7] = 999;
  EXPECT_EQ(cache.adopt(1, other, 1000), kCells + 7);
  EXPECT_EQ(cache.adopt(2, tokens, 2 * kCells - 1), 2 * kCells - 1);
  other[0] = 998;
  EXPECT_EQ(cache.shared_cells(other, 1000), 0U);
}

TEST(KvCache, WithoutACopierWholePagesAreShared) {
  KvCache cache(6, 2, 6 * kCells);
  compute(cache, 0, text(kCells + 9));
  EXPECT_EQ(cache.adopt(1, text(2 * kCells), 1000), kCells);
}

TEST(KvCache, ACopyThatFailsLeavesWholePagesSharedAndNoPageBehind) {
  Copier copier;
  copier.able = false;
  KvCache cache(6, 2, 6 * kCells, &copier);
  compute(cache, 0, text(kCells + 9));
  EXPECT_EQ(cache.adopt(1, text(2 * kCells), 1000), kCells);
  EXPECT_EQ(cache.available_pages(), 4U);
}

TEST(KvCache, ASequenceThatEndedIsFoundAgainUntilItsPagesAreNeeded) {
  Copier copier;
  KvCache cache(4, 2, 4 * kCells, &copier);
  const std::vector<Token> tokens = text(2 * kCells + 5);
  compute(cache, 0, tokens);
  cache.cut(0, 0);
  EXPECT_EQ(cache.available_pages(), 4U);
  EXPECT_EQ(cache.adopt(1, tokens, 1000), tokens.size());
  EXPECT_TRUE(copier.copies.empty()) << "nobody else has the last page: it is taken over";
  cache.cut(1, 0);
  compute(cache, 0, text(2 * kCells, 500));
  EXPECT_EQ(cache.shared_cells(tokens, 1000), 2 * kCells) << "the last page of the text was taken first";
  compute(cache, 0, text(kCells, 600));
  EXPECT_EQ(cache.shared_cells(tokens, 1000), kCells);
}

TEST(KvCache, TheLeastRecentlyUsedTextIsForgottenFirst) {
  KvCache cache(3, 2, 3 * kCells);
  for (const Token first : {100, 200, 300}) {
    compute(cache, 0, text(kCells, first));
    cache.cut(0, 0);
  }
  cache.adopt(0, text(kCells, 100), 1000);  // is used again
  cache.cut(0, 0);
  compute(cache, 1, text(kCells, 400));
  EXPECT_EQ(cache.shared_cells(text(kCells, 200), 1000), 0U);
  EXPECT_EQ(cache.shared_cells(text(kCells, 300), 1000), kCells);
  EXPECT_EQ(cache.shared_cells(text(kCells, 100), 1000), kCells);
}

TEST(KvCache, WhatWasNotComputedIsNotFound) {
  KvCache cache(4, 2, 4 * kCells);
  ASSERT_TRUE(cache.extend(0, 2 * kCells));  // and the pass fails
  cache.cut(0, 0);
  EXPECT_EQ(cache.shared_cells(text(2 * kCells), 1000), 0U);
  compute(cache, 0, text(kCells + 3));
  ASSERT_TRUE(cache.extend(0, 10));
  cache.cut(0, kCells + 3);
  EXPECT_EQ(cache.shared_cells(text(2 * kCells), 1000), kCells + 3);
}

TEST(KvCache, WhatIsWrittenOverIsNotFoundAnyMore) {
  KvCache cache(4, 2, 4 * kCells);
  compute(cache, 0, text(2 * kCells));
  cache.cut(0, kCells - 4);
  std::vector<Token> other = text(kCells - 4);
  const std::vector<Token> rest = text(kCells, 700);
  other.insert(other.end(), rest.begin(), rest.end());
  compute(cache, 0, rest);
  EXPECT_EQ(cache.shared_cells(text(2 * kCells), 1000), kCells - 4)
      << "its second page followed a first one that is gone";
  EXPECT_EQ(cache.shared_cells(other, 1000), other.size());
}

TEST(KvCache, TwoThatComputeTheSameShareWithAThird) {
  KvCache cache(8, 3, 8 * kCells);
  const std::vector<Token> tokens = text(2 * kCells);
  ASSERT_TRUE(cache.extend(0, 2 * kCells));
  ASSERT_TRUE(cache.extend(1, 2 * kCells));
  cache.commit(0, std::span(tokens).first(kCells));
  cache.commit(1, tokens);  // its first page is full of what another holds already; its second follows that one's text
  EXPECT_EQ(cache.adopt(2, tokens, 1000), 2 * kCells);
  EXPECT_EQ(cache.pages(2)[0], cache.pages(0)[0]);
  EXPECT_EQ(cache.pages(2)[1], cache.pages(1)[1]);
}

TEST(KvCache, WritingBehindACutIntoASharedPageCopiesItFirst) {
  Copier copier;
  KvCache cache(4, 2, 4 * kCells, &copier);
  compute(cache, 0, text(kCells));
  ASSERT_EQ(cache.adopt(1, text(kCells), 1000), kCells);
  EXPECT_EQ(cache.can_cut(1, 7), 7U);
  cache.cut(1, 7);
  EXPECT_EQ(cache.pages_needed(1, 1), 1U);
  compute(cache, 1, text(5, 900));
  ASSERT_EQ(copier.copies.size(), 1U);
  EXPECT_NE(cache.pages(1)[0], cache.pages(0)[0]);
  EXPECT_EQ(cache.shared_cells(text(kCells), 1000), kCells) << "what the other holds is as it was";
}

TEST(KvCache, WhatCannotBeCopiedCanBeCutBackToWholePagesOnly) {
  KvCache cache(4, 2, 4 * kCells);
  compute(cache, 0, text(2 * kCells));
  ASSERT_EQ(cache.adopt(1, text(2 * kCells), 1000), 2 * kCells);
  EXPECT_EQ(cache.can_cut(1, kCells + 7), kCells);
  cache.cut(1, kCells + 7);
  EXPECT_EQ(cache.length(1), kCells);
}

// Every token sees `window` positions, of as many sequences and tokens in a pass.
OtherCaches windows(std::uint32_t window, std::uint32_t sequences, std::uint32_t batch) {
  model::Program program;
  program.caches.push_back({.kind = model::CacheKind::Window, .window = window});
  plan::Shape shape;
  shape.context = 1U << 20U;
  shape.sequences = sequences;
  shape.batch = batch;
  return {plan::window_pages(program, shape), window, 0};
}

TEST(KvCache, WindowsKeepWhatTheNextTokenSeesAndWhatThePassAdded) {
  KvCache cache(64, 1, 64 * kCells, nullptr, windows(2 * kCells, 1, kCells));
  for (Token first = 0; first < 20; ++first) {
    compute(cache, 0, text(kCells, first * 50));
    // Of the window's 64 cells the next token's own is one, and the pass before it added 32.
    std::set<PageIndex> seen(cache.window_pages(0) + std::max(0, first - 2), cache.window_pages(0) + first + 1);
    EXPECT_EQ(seen.size(), std::min<std::size_t>(first + 1, 3));
  }
  EXPECT_EQ(cache.can_cut(0, 19 * kCells + 5), 19 * kCells + 5) << "into the last pass";
  EXPECT_EQ(cache.can_cut(0, 19 * kCells), 19 * kCells) << "to its beginning";
  EXPECT_EQ(cache.can_cut(0, 18 * kCells), 0U) << "what its next token sees is gone";
}

TEST(KvCache, APrefixIsSharedAsFarAsWindowsHaveWhatFollowsIt) {
  Copier copier;
  KvCache cache(64, 2, 64 * kCells, &copier, windows(kCells, 2, 2 * kCells));
  const std::vector<Token> all = text(20 * kCells);
  for (std::size_t i = 0; i < all.size(); i += 2 * kCells) compute(cache, 0, std::span(all).subspan(i, 2 * kCells));
  EXPECT_EQ(cache.shared_cells(all, 1000), all.size());
  std::vector<Token> other = all;
  other[8 * kCells] = 999;
  EXPECT_EQ(cache.shared_cells(other, 1000), 0U) << "the windows have gone on from there";
  EXPECT_EQ(cache.pages_taken_by(other, 1000), 20U);
  EXPECT_EQ(cache.adopt(1, other, 1000), 0U);
  other = all;
  other[19 * kCells + 3] = 999;
  EXPECT_EQ(cache.shared_cells(other, 1000), 19 * kCells + 3);
  EXPECT_EQ(cache.pages_taken_by(other, 1000), 1U);
  ASSERT_EQ(cache.adopt(1, other, 1000), 19 * kCells + 3);
  EXPECT_EQ(cache.window_pages(1)[18], cache.window_pages(0)[18]);
  EXPECT_NE(cache.window_pages(1)[19], cache.window_pages(0)[19]) << "the one in which they part is copied";
  ASSERT_EQ(copier.window_copies.size(), 1U);
  EXPECT_EQ(copier.window_copies[0], std::pair(cache.window_pages(0)[19], cache.window_pages(1)[19]));
}

TEST(KvCache, WhatIsSaidToBeSharedIsAdoptedWhereverTextsPart) {
  Copier copier;
  KvCache cache(64, 2, 64 * kCells, &copier, windows(kCells, 2, 2 * kCells));
  const std::vector<Token> all = text(20 * kCells);
  for (std::size_t i = 0; i < all.size(); i += 2 * kCells) compute(cache, 0, std::span(all).subspan(i, 2 * kCells));
  std::size_t some = 0;
  for (std::size_t part = 1; part < all.size(); part += 7) {
    std::vector<Token> other = all;
    other[part] = 999;
    const std::uint32_t shared = cache.shared_cells(other, 1000);
    EXPECT_EQ(cache.adopt(1, other, 1000), shared) << part;
    cache.cut(1, 0);
    if (shared > 0) ++some;
  }
  EXPECT_GT(some, 5U);
}

TEST(KvCache, WindowsThatCannotBeCopiedShareNothingWithinAPage) {
  Copier copier;
  copier.able_windows = false;
  KvCache cache(64, 2, 64 * kCells, &copier, windows(kCells, 2, 2 * kCells));
  compute(cache, 0, text(2 * kCells));
  EXPECT_EQ(cache.adopt(1, text(kCells + 5), 1000), 0U);
  EXPECT_EQ(cache.available_pages(), 62U);
}

TEST(KvCache, EnoughWindowPagesForEveryPassWhateverItsDivision) {
  std::mt19937 random(3);
  for (const std::uint32_t window : {1U, 2U, 31U, 32U, 33U, 70U}) {
    constexpr std::uint32_t kBatch = 40;
    KvCache cache(4000, 3, 1000 * kCells, nullptr, windows(window, 3, kBatch));
    for (int pass = 0; pass < 300; ++pass) {
      std::array<std::uint32_t, 3> counts{};
      for (std::uint32_t left = kBatch; left > 0;) {
        const std::uint32_t some = 1 + random() % left;
        counts.at(random() % 3) += some;
        left -= some;
      }
      for (std::uint32_t s = 0; s < 3; ++s) ASSERT_TRUE(cache.extend(s, counts.at(s))) << "window " << window;
      for (std::uint32_t s = 0; s < 3; ++s) cache.commit(s, text(counts.at(s), static_cast<Token>(random() % 50)));
    }
  }
}

const OtherCaches kStates{0, 0, 3 * 2};

TEST(KvCache, AStateIsReadInOnePlaceAndLeftInAnother) {
  KvCache cache(8, 2, 8 * kCells, nullptr, kStates);
  ASSERT_TRUE(cache.extend(0, 5));
  const std::uint32_t after = cache.state_after(0);
  cache.commit(0, text(5));
  EXPECT_EQ(cache.state(0), after);
  ASSERT_TRUE(cache.extend(0, 3));
  EXPECT_EQ(cache.state(0), after);
  EXPECT_NE(cache.state_after(0), after);
  cache.cut(0, 5);  // the pass was not finished: the state is where it was
  EXPECT_EQ(cache.state(0), after);
  EXPECT_EQ(cache.length(0), 5U);
  ASSERT_TRUE(cache.extend(1, 1));
  EXPECT_NE(cache.state_after(1), after);
}

TEST(KvCache, AStateGoesBackToWhereTheLastPassBegan) {
  KvCache cache(8, 2, 8 * kCells, nullptr, kStates);
  EXPECT_FALSE(cache.cuts_anywhere());
  compute(cache, 0, text(kCells));
  const std::uint32_t before = cache.state(0);
  compute(cache, 0, text(10, 100));
  EXPECT_EQ(cache.can_cut(0, kCells + 9), kCells);
  EXPECT_EQ(cache.can_cut(0, kCells - 1), 0U);
  cache.cut(0, kCells + 9);
  EXPECT_EQ(cache.length(0), kCells);
  EXPECT_EQ(cache.state(0), before);
  EXPECT_EQ(cache.can_cut(0, kCells - 1), 0U) << "and no further";
}

TEST(KvCache, ATextGoesOnFromASnapshotOfItsBeginning) {
  Copier copier;
  KvCache cache(32, 2, 32 * kCells, &copier, kStates);
  std::vector<Token> prompt = text(2 * kCells + 5);
  compute(cache, 0, prompt);
  EXPECT_EQ(cache.shared_cells(prompt, 1000), 0U) << "nobody asked for a snapshot";
  cache.keep_state(0);
  const std::uint32_t at_prompt = cache.state(0);
  for (Token t = 0; t < 20; ++t) compute(cache, 0, text(1, 500 + t));
  std::vector<Token> other = prompt;
  other.resize(4 * kCells, 77);
  EXPECT_EQ(cache.shared_cells(other, 1000), prompt.size());
  ASSERT_EQ(cache.adopt(1, other, 1000), prompt.size());
  EXPECT_EQ(cache.state(1), at_prompt);
  ASSERT_TRUE(cache.extend(1, 4));
  EXPECT_EQ(cache.state(1), at_prompt);
  EXPECT_NE(cache.state_after(1), cache.state(0));
  cache.commit(1, std::span(other).subspan(prompt.size(), 4));
  // One that ends leaves a snapshot of all that it has.
  const std::uint32_t at_end = cache.state(0);
  cache.cut(0, 0);
  for (Token t = 0; t < 20; ++t) prompt.push_back(500 + t);
  prompt.push_back(3);
  EXPECT_EQ(cache.adopt(0, prompt, 1000), prompt.size() - 1);
  EXPECT_EQ(cache.state(0), at_end);
}

// Against a model of it that keeps every sequence's text: no page is written by one while another holds it, and what is
// shared is what the text says.
class KvCacheOfKinds : public testing::TestWithParam<OtherCaches> {};
INSTANTIATE_TEST_SUITE_P(Kinds, KvCacheOfKinds,
                         testing::Values(OtherCaches{}, windows(40, 4, 50), OtherCaches{0, 0, 12},
                                         OtherCaches{windows(9, 4, 50).window_pages, 9, 12}));

TEST_P(KvCacheOfKinds, NeverMixesUpTextsWhateverTheHistory) {
  struct Cells final : PageCopier {
    std::map<PageIndex, std::vector<Token>> cells, window_cells;
    bool copy_page(PageIndex from, PageIndex to) override {
      cells[to] = cells[from];
      return true;
    }
    bool copy_window_page(PageIndex from, PageIndex to) override {
      window_cells[to] = window_cells[from];
      return true;
    }
  } bytes;
  std::map<std::uint32_t, std::vector<Token>> states;
  const OtherCaches& kinds = GetParam();
  std::size_t shared = 0;
  std::mt19937 random(7);
  KvCache cache(13, 4, 9 * kCells, &bytes, kinds);
  std::vector<std::vector<Token>> texts(4);
  const auto check = [&](std::uint32_t s) {
    for (std::size_t i = 0; i < texts[s].size(); ++i) {
      ASSERT_EQ(bytes.cells[cache.pages(s)[i / kCells]].at(i % kCells), texts[s][i]) << "sequence " << s << ", " << i;
    }
    if (kinds.states > 0 && !texts[s].empty()) {
      ASSERT_EQ(states[cache.state(s)], texts[s]) << "sequence " << s;
    }
    if (kinds.window == 0) return;
    for (std::size_t i = texts[s].size() - std::min<std::size_t>(texts[s].size(), kinds.window - 1);
         i < texts[s].size(); ++i) {
      ASSERT_EQ(bytes.window_cells[cache.window_pages(s)[i / kCells]].at(i % kCells), texts[s][i]) << s << ", " << i;
    }
  };
  for (int step = 0; step < 8000; ++step) {
    const std::uint32_t s = random() % 4;
    std::vector<Token>& own = texts[s];
    switch (random() % 4) {
      case 0: {  // few different texts, so that they meet again
        cache.cut(s, 0);
        own.clear();
        std::vector<Token> wanted;
        for (std::uint32_t i = random() % (4 * kCells); i > 0; --i)
          wanted.push_back(static_cast<Token>(random() % 40 == 0));
        own = wanted;
        own.resize(cache.adopt(s, wanted, 1000));
        shared += own.size();
        break;
      }
      case 1: {
        const std::uint32_t to = random() % (cache.length(s) + 1);
        cache.cut(s, to);
        own.resize(cache.length(s));
        break;
      }
      default: {
        std::vector<Token> more(random() % 50);
        for (Token& token : more) token = static_cast<Token>(random() % 40 == 0);
        const auto count = static_cast<std::uint32_t>(more.size());
        const bool fits = count <= cache.room(s) && cache.pages_needed(s, count) <= cache.available_pages();
        ASSERT_EQ(cache.extend(s, count), fits);
        if (!fits) break;
        const bool completed = random() % 5 != 0;
        for (std::size_t i = 0; i < more.size(); ++i) {  // written in any case
          std::vector<Token>& page = bytes.cells[cache.pages(s)[(own.size() + i) / kCells]];
          page.resize(kCells);
          page[(own.size() + i) % kCells] = completed ? more[i] : -1;
          if (kinds.window == 0) continue;
          std::vector<Token>& other = bytes.window_cells[cache.window_pages(s)[(own.size() + i) / kCells]];
          other.resize(kCells);
          other[(own.size() + i) % kCells] = page[(own.size() + i) % kCells];
        }
        if (kinds.states > 0 && !more.empty()) {
          std::vector<Token>& after = states[cache.state_after(s)];
          after = own;
          after.insert(after.end(), more.begin(), more.end());
        }
        if (completed) {
          cache.commit(s, more);
          if (random() % 4 == 0) cache.keep_state(s);
          own.insert(own.end(), more.begin(), more.end());
        } else {
          cache.cut(s, static_cast<std::uint32_t>(own.size()));
        }
      }
    }
    ASSERT_EQ(cache.length(s), own.size());
    for (std::uint32_t other = 0; other < 4; ++other) check(other);
    std::set<PageIndex> held;
    for (std::uint32_t other = 0; other < 4; ++other) {
      held.insert(cache.pages(other), cache.pages(other) + (texts[other].size() + kCells - 1) / kCells);
    }
    ASSERT_EQ(cache.available_pages(), 13 - held.size());
  }
  EXPECT_GT(shared, 20U * kCells) << "texts met too seldom for this to test anything";
}

}  // namespace
}  // namespace loadline::exec
