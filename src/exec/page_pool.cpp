#include "exec/page_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "exec/same_beginning.h"

namespace loadline::exec {
namespace {

using quant::kKvPageCells;

[[noreturn]] void misuse(const char* what, PageIndex page) {
  throw Error(ErrorCode::Internal, fmt::format("page {} of the cache {}", page, what));
}

}  // namespace

PagePool::PagePool(std::uint32_t pages)
    : pages_(pages),
      tokens_(std::size_t{pages} * kKvPageCells),
      chains_(std::bit_ceil(std::max<std::size_t>(pages, 1)), kNoPage) {
  for (PageIndex page = 0; page < pages; ++page) put_at_end(page);
}

PagePool::Page& PagePool::at(PageIndex page) {
  if (page >= pages_.size()) misuse("does not exist", page);
  return pages_[page];
}

const PagePool::Page& PagePool::at(PageIndex page) const {
  if (page >= pages_.size()) misuse("does not exist", page);
  return pages_[page];
}

PageIndex PagePool::take() {
  if (front_ == kNoPage) return kNoPage;
  const PageIndex page = front_;
  if (pages_[page].listed) note_gone(page);
  take_out(page);
  forget(page);
  pages_[page].holders = 1;
  return page;
}

void PagePool::share(PageIndex page) {
  Page& p = at(page);
  if (p.holders == 0) {
    if (!p.listed) misuse("holds nothing that could be shared", page);
    take_out(page);
  }
  ++p.holders;
  if (p.hits < UINT16_MAX) ++p.hits;
  p.used = time_;
}

void PagePool::release(PageIndex page) {
  Page& p = at(page);
  if (p.holders == 0) misuse("is given back twice", page);
  p.used = time_;
  if (--p.holders > 0) return;
  if (p.listed) {
    put_at_end(page);
  } else {
    put_in_front(page);
  }
}

void PagePool::cut(PageIndex page, std::uint32_t cell) {
  Page& p = at(page);
  if (p.holders != 1) misuse("is written to by one of several holders", page);
  if (cell >= p.known) return;
  // Pages that follow the text up to its end follow something else now.
  if (p.known == kKvPageCells) p.name = 0;
  if (cell == 0) {
    forget(page);
  } else {
    p.known = cell;
    if (!p.listed) list(page);
  }
}

void PagePool::append(PageIndex page, TextName before, std::span<const Token> tokens) {
  Page& p = at(page);
  if (p.holders != 1) misuse("is written to by one of several holders", page);
  if (tokens.size() > kKvPageCells - p.known) misuse("has too few cells", page);
  if (tokens.empty()) return;
  std::ranges::copy(tokens, tokens_.begin() + static_cast<std::ptrdiff_t>(std::size_t{page} * kKvPageCells + p.known));
  p.known += static_cast<std::uint32_t>(tokens.size());
  p.before = before;
  if (p.known == kKvPageCells) {
    const Found same = find(before, this->tokens(page));
    const bool elsewhere = same.cells == kKvPageCells && same.page != page;
    if (elsewhere && p.listed) unlist(page);
    p.name = elsewhere ? pages_[same.page].name : next_name_++;
    if (elsewhere) return;
  }
  if (!p.listed) list(page);
}

std::span<const Token> PagePool::tokens(PageIndex page) const {
  return std::span(tokens_).subspan(std::size_t{page} * kKvPageCells, at(page).known);
}

PagePool::Found PagePool::find(TextName before, std::span<const Token> tokens) const {
  Found best;
  if (tokens.empty()) return best;
  for (PageIndex page = chains_[chain_of(before, tokens.front())]; page != kNoPage; page = pages_[page].chained) {
    if (pages_[page].before != before) continue;
    const auto cells = static_cast<std::uint32_t>(same_beginning(this->tokens(page), tokens));
    if (cells > best.cells) best = {page, cells};
  }
  return best;
}

std::size_t PagePool::chain_of(TextName before, Token first) const {
  std::uint64_t hash = (before * 0x9E3779B97F4A7C15U) ^ static_cast<std::uint32_t>(first);
  hash = (hash ^ (hash >> 32U)) * 0xD6E8FEB86659FD93U;  // one round of a mixer by Pelle Evensen
  return (hash ^ (hash >> 32U)) & (chains_.size() - 1);
}

void PagePool::list(PageIndex page) {
  PageIndex& head = chains_[chain_of(pages_[page].before, first_token(page))];
  pages_[page].chained = head;
  pages_[page].listed = true;
  head = page;
}

void PagePool::unlist(PageIndex page) {
  PageIndex* link = &chains_[chain_of(pages_[page].before, first_token(page))];
  while (*link != page) link = &pages_[*link].chained;
  *link = pages_[page].chained;
  pages_[page].listed = false;
}

void PagePool::forget(PageIndex page) {
  if (pages_[page].listed) unlist(page);
  pages_[page].known = 0;
  pages_[page].name = 0;
  pages_[page].hits = 0;
}

PagePool::Use PagePool::use(PageIndex page) const {
  const Page& p = at(page);
  return {p.before, p.hits, p.used, p.listed, p.pinned};
}

void PagePool::pin(PageIndex page) {
  Page& p = at(page);
  if (!p.listed) misuse("holds nothing that could be kept", page);
  if (p.pinned) return;
  if (p.holders == 0) take_out(page);
  ++p.holders;
  p.pinned = true;
  ++pinned_;
}

void PagePool::unpin(PageIndex page) {
  Page& p = at(page);
  if (!p.pinned) return;
  p.pinned = false;
  --pinned_;
  release(page);
}

// Pages of a text go from its end: those that follow each other are told as one.
void PagePool::note_gone(PageIndex page) {
  const Page& p = pages_[page];
  Gone* gone = &gone_[gone_count_ % kMostGone];
  if (gone_count_ > 0) {
    Gone& last = gone_[(gone_count_ - 1) % kMostGone];
    if (p.name != 0 && last.before == p.name) gone = &last;
  }
  if (gone == &gone_[gone_count_ % kMostGone]) {
    *gone = {};
    gone->number = ++gone_count_;
  }
  gone->before = p.before;
  gone->cells += p.known;
  gone->hits = std::max<std::uint32_t>(gone->hits, p.hits);
  gone->used = std::max(gone->used, p.used);
  gone->when = time_;
  gone->told = std::min(p.known, static_cast<std::uint32_t>(gone->tokens.size()));
  std::ranges::copy(tokens(page).first(gone->told), gone->tokens.begin());
}

void PagePool::put_in_front(PageIndex page) {
  pages_[page].previous = kNoPage;
  pages_[page].next = front_;
  (front_ == kNoPage ? end_ : pages_[front_].previous) = page;
  front_ = page;
  ++available_;
}

void PagePool::put_at_end(PageIndex page) {
  pages_[page].previous = end_;
  pages_[page].next = kNoPage;
  (end_ == kNoPage ? front_ : pages_[end_].next) = page;
  end_ = page;
  ++available_;
  if (pages_[page].listed) ++kept_;
}

void PagePool::take_out(PageIndex page) {
  const Page& p = pages_[page];
  (p.previous == kNoPage ? front_ : pages_[p.previous].next) = p.next;
  (p.next == kNoPage ? end_ : pages_[p.next].previous) = p.previous;
  --available_;
  if (p.listed) --kept_;
}

}  // namespace loadline::exec
