// PagePool: the pages of one kind of cache, counted. A page that no sequence holds any more is kept for what it holds
// until its place is needed, and can be found again by the tokens that it and the pages before it were computed from.
// Bookkeeping alone: the bytes are the devices', and which page a sequence uses where is KvCache's.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/kv_page.h"

namespace loadline::exec {

using Token = std::int32_t;
using PageIndex = std::uint32_t;
inline constexpr PageIndex kNoPage = 0xFFFFFFFFU;

constexpr std::uint32_t pages_for(std::uint64_t cells) {
  return static_cast<std::uint32_t>((cells + quant::kKvPageCells - 1) / quant::kKvPageCells);
}

// What the cells of a text up to the end of a page are called; no two texts have the same name. 0: none.
using TextName = std::uint64_t;
inline constexpr TextName kEmptyText = 1;

// Allocates only when constructed. Not thread-safe. A page index out of range throws Error(Internal).
class PagePool {
 public:
  explicit PagePool(std::uint32_t pages);

  [[nodiscard]] std::uint32_t pages() const { return static_cast<std::uint32_t>(pages_.size()); }
  // Pages that nobody holds: what `take` can still give.
  [[nodiscard]] std::uint32_t available() const { return available_; }
  [[nodiscard]] std::uint32_t holders(PageIndex page) const { return at(page).holders; }

  // A page for one holder, without content: one that was never used or whose content was cut away before one that is
  // kept, and of those the least recently used. kNoPage where all are held.
  PageIndex take();
  // One holder more, of a page that is kept or held: what it holds was found.
  void share(PageIndex page);
  // One holder less. Of several pages of a text give back the last first: it is then taken first.
  void release(PageIndex page);

  // The cells from `cell` on are about to be computed anew: what they held is forgotten. The page has one holder.
  void cut(PageIndex page, std::uint32_t cell);
  // The cells that follow those known so far now hold these tokens, after a text named `before` (kEmptyText for a first
  // page). The page has one holder. A page that is full of what another holds already is not found any more.
  void append(PageIndex page, TextName before, std::span<const Token> tokens);
  // Cells whose tokens are known.
  [[nodiscard]] std::uint32_t known(PageIndex page) const { return at(page).known; }
  [[nodiscard]] std::span<const Token> tokens(PageIndex page) const;
  // Of the text up to the end of this full page.
  [[nodiscard]] TextName name(PageIndex page) const { return at(page).name; }

  // The page that begins most like `tokens` (which may be longer than a page) after the text `before`, and how many of
  // its cells are the same; {kNoPage, 0} where none is.
  struct Found {
    PageIndex page = kNoPage;
    std::uint32_t cells = 0;
  };
  [[nodiscard]] Found find(TextName before, std::span<const Token> tokens) const;

  // What is told of pages to people: what each holds and how it was used, and what went lately. Times are as the last
  // `set_time` had them, in seconds.
  void set_time(double seconds) { time_ = static_cast<std::uint32_t>(seconds); }
  struct Use {
    TextName before = 0;
    std::uint32_t hits = 0;  // how often it was found
    std::uint32_t used = 0;  // when it was given back, or found, last
    bool listed = false;     // it is found by its tokens
    bool pinned = false;
  };
  [[nodiscard]] Use use(PageIndex page) const;
  // A page that is listed is not taken while it is pinned, which counts as one holder more.
  void pin(PageIndex page);
  void unpin(PageIndex page);
  [[nodiscard]] std::uint32_t pinned_pages() const { return pinned_; }
  // Of those that nobody holds, how many hold something that can be found.
  [[nodiscard]] std::uint32_t kept_pages() const { return kept_; }

  // A text, or its end, that was forgotten since its pages were needed for others.
  struct Gone {
    std::uint64_t number = 0;  // counts them, from 1; 0: none
    TextName before = 0;       // of its first page that went
    std::uint32_t cells = 0, hits = 0, used = 0, when = 0;
    std::array<Token, 16> tokens{};  // with which that page began ...
    std::uint32_t told = 0;          // ... so many of them
  };
  static constexpr std::size_t kMostGone = 16;
  // The last ones, in no order.
  [[nodiscard]] const std::array<Gone, kMostGone>& gone() const { return gone_; }

  // What a pool allocates for each page, for the plan.
  static constexpr std::size_t bytes_per_page();

 private:
  struct Page {
    std::uint32_t holders = 0;
    std::uint32_t known = 0;
    PageIndex previous = kNoPage, next = kNoPage;  // among those that nobody holds, what is taken first in front
    PageIndex chained = kNoPage;                   // the next page of its chain, if `listed`
    bool listed = false;
    bool pinned = false;
    std::uint16_t hits = 0;
    std::uint32_t used = 0;
    TextName before = 0;
    TextName name = 0;
  };

  Page& at(PageIndex page);
  [[nodiscard]] const Page& at(PageIndex page) const;
  [[nodiscard]] std::size_t chain_of(TextName before, Token first) const;
  [[nodiscard]] Token first_token(PageIndex page) const { return tokens_[std::size_t{page} * quant::kKvPageCells]; }
  void list(PageIndex page);
  void unlist(PageIndex page);
  void forget(PageIndex page);
  void put_in_front(PageIndex page);
  void put_at_end(PageIndex page);
  void take_out(PageIndex page);
  void note_gone(PageIndex page);

  std::vector<Page> pages_;
  std::vector<Token> tokens_;      // [pages][kKvPageCells]
  std::vector<PageIndex> chains_;  // by hash of the text before and the first token
  PageIndex front_ = kNoPage, end_ = kNoPage;
  std::uint32_t available_ = 0, kept_ = 0, pinned_ = 0;
  std::uint32_t time_ = 0;
  std::array<Gone, kMostGone> gone_;
  std::uint64_t gone_count_ = 0;
  TextName next_name_ = kEmptyText + 1;
};

constexpr std::size_t PagePool::bytes_per_page() {
  // There are at most twice as many chains as pages.
  return sizeof(Page) + quant::kKvPageCells * sizeof(Token) + 2 * sizeof(PageIndex);
}

}  // namespace loadline::exec
