// The pages of those caches that keep the last positions of a text only: of each sequence what its next token sees, and
// what a pass adds. Pages that nobody sees any more are kept for what they hold until their place is needed, as in
// every PagePool. Bookkeeping alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "exec/page_pool.h"

namespace loadline::exec {

// Page p of a sequence holds its positions from 32 p on. Allocates only when constructed. Not thread-safe.
class WindowPages {
 public:
  // `window`: how many positions a token sees, its own included; `pages`: see plan::window_pages.
  WindowPages(std::uint32_t pages, std::uint32_t window, std::uint32_t sequences, std::uint32_t most_cells);

  // By page number; those before the first one that is held, and those behind the last, mean nothing.
  [[nodiscard]] const PageIndex* pages(std::uint32_t sequence) const { return sequences_[sequence].pages.data(); }
  [[nodiscard]] const PagePool& pool() const { return pool_; }
  [[nodiscard]] PagePool& pool() { return pool_; }

  // The first position that the token at `position` sees.
  [[nodiscard]] std::uint32_t first_seen(std::uint32_t position) const {
    return position < window_ ? 0 : position - window_ + 1;
  }
  // Whether everything is still there that the sequence's token at `position` sees.
  [[nodiscard]] bool reaches(std::uint32_t sequence, std::uint32_t position) const;
  // Whether the page with this cell, if there is one, has other holders too.
  [[nodiscard]] bool shares(std::uint32_t sequence, std::uint32_t cell) const;

  // Gives back what no token from `position` on sees.
  void trim(std::uint32_t sequence, std::uint32_t position);
  // Pages for cells up to `end`. False where there are too few, with the sequence as it was.
  bool take(std::uint32_t sequence, std::uint32_t end);
  // Only the first `cells` cells stay.
  void cut(std::uint32_t sequence, std::uint32_t cells);
  // Another page in place of one; the other is given back.
  void replace(std::uint32_t sequence, std::uint32_t number, PageIndex page);
  // An empty sequence begins with these pages, the first of them number `number`; each has been shared.
  void begin(std::uint32_t sequence, std::uint32_t number);
  void push(std::uint32_t sequence, PageIndex page);

 private:
  struct Sequence {
    std::uint32_t first = 0;  // of the pages that it holds
    std::uint32_t end = 0;
    std::vector<PageIndex> pages;
  };
  std::uint32_t window_;
  PagePool pool_;
  std::vector<Sequence> sequences_;
};

}  // namespace loadline::exec
