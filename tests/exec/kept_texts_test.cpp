#include "exec/kept_texts.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

constexpr std::uint32_t kPage = quant::kKvPageCells;

class CopiesAll final : public PageCopier {
 public:
  bool copy_page(PageIndex /*from*/, PageIndex /*to*/) override { return true; }
};

// Its tokens are `first`, `first` + 1, ...
std::vector<Token> story(std::size_t count, Token first) {
  std::vector<Token> tokens(count);
  for (std::size_t i = 0; i < count; ++i) tokens[i] = first + static_cast<Token>(i);
  return tokens;
}

// A session of this text that comes to its end; how much of it was there.
std::uint32_t tell(KvCache& cache, std::span<const Token> text, bool ends = true) {
  const std::uint32_t shared = cache.adopt(0, text, static_cast<std::uint32_t>(text.size() - 1));
  EXPECT_TRUE(cache.extend(0, static_cast<std::uint32_t>(text.size()) - shared));
  cache.commit(0, text.subspan(shared));
  if (ends) cache.cut(0, 0);
  return shared;
}

TEST(KeptTexts, ATextIsToldWithItsUseAndWhatItHasInCommon) {
  CopiesAll copier;
  KvCache cache(16, 2, 16 * kPage, &copier);
  const std::vector<Token> first = story(3 * kPage, 0);
  cache.set_time(100);
  tell(cache, first);
  std::vector<Token> second = story(2 * kPage, 0);
  const std::vector<Token> other = story(kPage + 5, 5000);
  second.insert(second.end(), other.begin(), other.end());
  cache.set_time(130);
  EXPECT_EQ(tell(cache, second), 2 * kPage);
  const std::vector<KeptText> texts = kept_texts(cache, 4);
  ASSERT_EQ(texts.size(), 2U);
  EXPECT_EQ(texts[0].cells, 3 * kPage + 5);
  EXPECT_EQ(texts[0].shared, 2 * kPage);
  EXPECT_EQ(texts[0].hits, 1U);
  EXPECT_EQ(texts[0].found, 2 * kPage);
  EXPECT_EQ(texts[0].used, 130U);
  EXPECT_FALSE(texts[0].held);
  EXPECT_EQ(texts[0].beginning, story(4, 0));
  EXPECT_EQ(texts[0].end, story(4, 5000 + kPage + 1));
  EXPECT_EQ(texts[1].cells, 3 * kPage);
  EXPECT_EQ(cache.pool().kept_pages(), 5U);
}

TEST(KeptTexts, WhatWentIsToldAsOneTextAndNotPageByPage) {
  KvCache cache(6, 1, 6 * kPage);
  cache.set_time(10);
  tell(cache, story(4 * kPage, 0));
  cache.set_time(70);
  tell(cache, story(5 * kPage, 1000));
  std::vector<PagePool::Gone> gone;
  for (const PagePool::Gone& one : cache.pool().gone()) {
    if (one.number > 0) gone.push_back(one);
  }
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_EQ(gone[0].cells, 3 * kPage);
  EXPECT_EQ(gone[0].used, 10U);
  EXPECT_EQ(gone[0].when, 70U);
  EXPECT_EQ(gone[0].told, 16U);
  EXPECT_EQ(gone[0].tokens[0], static_cast<Token>(kPage));  // its first page is still there
}

TEST(KeptTexts, APinnedTextOutlivesWhatNeedsItsCells) {
  CopiesAll copier;
  KvCache cache(8, 1, 8 * kPage, &copier);
  const std::vector<Token> kept = story(2 * kPage + 7, 0);
  tell(cache, kept);
  const KeptText text = kept_texts(cache, 1).at(0);
  EXPECT_EQ(pin_text(cache, text.last, text.before, true), kept.size());
  EXPECT_EQ(cache.available_pages(), 5U);
  for (Token at = 1; at < 6; ++at) tell(cache, story(4 * kPage, 10000 * at));
  EXPECT_EQ(cache.shared_cells(kept, 1000), kept.size());
  EXPECT_EQ(tell(cache, kept), kept.size() - 1) << "a session goes on from it, and leaves it as it is";
  for (const KeptText& one : kept_texts(cache, 1)) {
    EXPECT_EQ(one.pinned, one.last == text.last ? kept.size() : 0U) << "what goes on from it was not pinned itself";
  }
  EXPECT_EQ(pin_text(cache, text.last, text.before, false), 0U);
  EXPECT_EQ(cache.available_pages(), 8U);
  for (Token at = 1; at < 6; ++at) tell(cache, story(4 * kPage, 10000 * at));
  EXPECT_EQ(cache.shared_cells(kept, 1000), 0U);
}

TEST(KeptTexts, UnpinningOneTextLeavesPinnedWhatAnotherPinnedOneBeginsWith) {
  CopiesAll copier;
  KvCache cache(16, 1, 16 * kPage, &copier);
  std::vector<Token> first = story(kPage, 0), second = first;
  for (const Token token : story(kPage, 1000)) first.push_back(token);
  for (const Token token : story(kPage, 2000)) second.push_back(token);
  tell(cache, first);
  tell(cache, second);
  for (const KeptText& text : kept_texts(cache, 1)) pin_text(cache, text.last, text.before, true);
  EXPECT_EQ(cache.pool().pinned_pages(), 3U);
  const KeptText one = kept_texts(cache, 1).at(0);
  pin_text(cache, one.last, one.before, false);
  EXPECT_EQ(cache.pool().pinned_pages(), 2U);
  const KeptText other = kept_texts(cache, 1).at(1);
  EXPECT_EQ(other.pinned, 2 * kPage);
  pin_text(cache, other.last, other.before, false);
  EXPECT_EQ(cache.pool().pinned_pages(), 0U);
}

TEST(KeptTexts, ThePageThatASessionWritesIsNotPinned) {
  CopiesAll copier;
  KvCache cache(8, 1, 8 * kPage, &copier);
  const std::vector<Token> text = story(kPage + 9, 0);
  tell(cache, text, false);
  const KeptText told = kept_texts(cache, 1).at(0);
  EXPECT_TRUE(told.held);
  EXPECT_EQ(pin_text(cache, told.last, told.before, true), kPage);
  ASSERT_TRUE(cache.extend(0, 1));
  cache.commit(0, story(1, 7));
  cache.cut(0, kPage / 2);  // into what is pinned
  ASSERT_TRUE(cache.extend(0, 1));
  cache.commit(0, story(1, 9));
  cache.cut(0, 0);
  EXPECT_EQ(cache.shared_cells(text, 1000), kPage + 9);
}

TEST(KeptTexts, NoMoreThanHalfIsPinnedAndNothingThatIsGone) {
  KvCache cache(4, 1, 4 * kPage);
  tell(cache, story(3 * kPage, 0));
  const KeptText text = kept_texts(cache, 1).at(0);
  EXPECT_THROW(pin_text(cache, text.last, text.before, true), Error);
  EXPECT_THROW(pin_text(cache, text.last, text.before + 1, true), Error);
  EXPECT_THROW(pin_text(cache, 4, text.before, true), Error);
  EXPECT_EQ(cache.pool().pinned_pages(), 0U);
}

TEST(KeptTexts, CachesThatDoNotKeepEveryPositionHaveNothingToPin) {
  KvCache cache(8, 1, 8 * kPage, nullptr, {.window_pages = 8, .window = kPage});
  tell(cache, story(2 * kPage, 0));
  const KeptText text = kept_texts(cache, 1).at(0);
  EXPECT_THROW(pin_text(cache, text.last, text.before, true), Error);
}

}  // namespace
}  // namespace loadline::exec
