#include "exec/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

using quant::kKvPageCells;

std::uint32_t pages_for(std::uint64_t cells) {
  return static_cast<std::uint32_t>((cells + kKvPageCells - 1) / kKvPageCells);
}

}  // namespace

KvCache::KvCache(std::uint32_t pages, std::uint32_t sequences, std::uint32_t most_cells, PageCopier* copier,
                 bool has_states)
    : most_cells_(most_cells), copier_(copier), has_states_(has_states), pool_(pages), sequences_(sequences) {
  for (Sequence& sequence : sequences_) sequence.pages.reserve(std::min(pages, pages_for(most_cells)));
}

KvCache::Sequence& KvCache::at(std::uint32_t sequence) {
  return const_cast<Sequence&>(static_cast<const KvCache*>(this)->at(sequence));
}

const KvCache::Sequence& KvCache::at(std::uint32_t sequence) const {
  if (sequence >= sequences_.size()) {
    throw Error(ErrorCode::Internal,
                fmt::format("sequence {} of the cache does not exist: there are {}", sequence, sequences_.size()));
  }
  return sequences_[sequence];
}

// Whether what is added next goes into a page that others hold too, as after a cut into what is shared.
bool KvCache::copies(const Sequence& sequence) const {
  return sequence.length % kKvPageCells != 0 && pool_.holders(sequence.pages.back()) > 1;
}

std::uint32_t KvCache::room(std::uint32_t sequence) const {
  const Sequence& s = at(sequence);
  const std::uint32_t available = pool_.available();
  if (copies(s) && available == 0) return 0;
  const std::uint64_t held = s.pages.size() + available - (copies(s) ? 1 : 0);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(held * kKvPageCells, most_cells_)) - s.length;
}

std::uint32_t KvCache::pages_needed(std::uint32_t sequence, std::uint32_t cells) const {
  const Sequence& s = at(sequence);
  const auto held = static_cast<std::uint32_t>(s.pages.size());
  return pages_for(std::uint64_t{s.length} + cells) - held + (cells > 0 && copies(s) ? 1 : 0);
}

bool KvCache::extend(std::uint32_t sequence, std::uint32_t cells) {
  if (cells > room(sequence)) return false;
  if (cells == 0) return true;
  Sequence& s = at(sequence);
  if (copies(s) && !copy_last(s)) return false;
  // What the page held behind the sequence's end is written over.
  if (s.length % kKvPageCells != 0) pool_.cut(s.pages.back(), s.length % kKvPageCells);
  s.length += cells;
  while (s.pages.size() < pages_for(s.length)) s.pages.push_back(pool_.take());
  return true;
}

bool KvCache::copy_last(Sequence& sequence) {
  const PageIndex shared = sequence.pages.back();
  const PageIndex page = pool_.take();
  if (copier_ == nullptr || !copier_->copy_page(shared, page)) {
    pool_.release(page);
    return false;
  }
  const std::size_t last = sequence.pages.size() - 1;
  pool_.append(page, text_before(sequence, last), pool_.tokens(shared).first(sequence.committed % kKvPageCells));
  sequence.pages.back() = page;
  pool_.release(shared);
  return true;
}

// What the pages before this one hold.
TextName KvCache::text_before(const Sequence& sequence, std::size_t page) const {
  return page == 0 ? kEmptyText : pool_.name(sequence.pages[page - 1]);
}

void KvCache::commit(std::uint32_t sequence, std::span<const Token> tokens) {
  Sequence& s = at(sequence);
  if (tokens.size() > s.length - s.committed) {
    throw Error(ErrorCode::Internal,
                fmt::format("sequence {} was not given cells for {} tokens", sequence, tokens.size()));
  }
  if (!tokens.empty()) s.place ^= 1U;
  while (!tokens.empty()) {
    const std::size_t page = s.committed / kKvPageCells;
    const std::size_t count = std::min<std::size_t>(kKvPageCells - s.committed % kKvPageCells, tokens.size());
    pool_.append(s.pages[page], text_before(s, page), tokens.first(count));
    s.committed += static_cast<std::uint32_t>(count);
    tokens = tokens.subspan(count);
  }
}

std::uint32_t KvCache::can_cut(std::uint32_t sequence, std::uint32_t length) const {
  const Sequence& s = at(sequence);
  if (length >= s.length) return s.length;
  if (has_states_ && length != s.committed) return 0;
  const bool shared = length % kKvPageCells != 0 && pool_.holders(s.pages[length / kKvPageCells]) > 1;
  return shared && copier_ == nullptr ? length / kKvPageCells * kKvPageCells : length;
}

void KvCache::cut(std::uint32_t sequence, std::uint32_t length) {
  Sequence& s = at(sequence);
  s.length = can_cut(sequence, length);
  s.committed = std::min(s.committed, s.length);
  while (s.pages.size() > pages_for(s.length)) {
    pool_.release(s.pages.back());
    s.pages.pop_back();
  }
}

std::uint32_t KvCache::shared_cells(std::span<const Token> text, std::uint32_t most) const {
  if (has_states_) return 0;
  text = text.first(std::min<std::size_t>(text.size(), most));
  std::uint32_t cells = 0;
  TextName before = kEmptyText;
  while (true) {
    const PagePool::Found found = pool_.find(before, text.subspan(cells));
    cells += found.cells;
    if (found.cells < kKvPageCells) return cells;
    before = pool_.name(found.page);
  }
}

std::uint32_t KvCache::pages_taken_by(std::span<const Token> text, std::uint32_t most) const {
  std::uint32_t pages = pages_for(text.size());
  if (has_states_) return pages;
  text = text.first(std::min<std::size_t>(text.size(), most));
  TextName before = kEmptyText;
  while (text.size() >= kKvPageCells) {
    const PagePool::Found found = pool_.find(before, text);
    if (found.cells < kKvPageCells) break;
    if (pool_.holders(found.page) > 0) --pages;
    before = pool_.name(found.page);
    text = text.subspan(kKvPageCells);
  }
  return pages;
}

std::uint32_t KvCache::adopt(std::uint32_t sequence, std::span<const Token> text, std::uint32_t most) {
  Sequence& s = at(sequence);
  if (s.length > 0) {
    throw Error(ErrorCode::Internal, fmt::format("sequence {} has begun already, and can share nothing", sequence));
  }
  if (has_states_) return 0;
  text = text.first(std::min<std::size_t>({text.size(), most, most_cells_}));
  TextName before = kEmptyText;
  while (true) {
    const PagePool::Found found = pool_.find(before, text.subspan(s.length));
    if (found.cells == kKvPageCells) {
      pool_.share(found.page);
      s.pages.push_back(found.page);
      s.length += found.cells;
      before = pool_.name(found.page);
      continue;
    }
    if (found.cells == 0) break;
    const PageIndex page = adopt_part(found, before, text.subspan(s.length, found.cells));
    if (page == kNoPage) break;
    s.pages.push_back(page);
    s.length += found.cells;
    break;
  }
  s.committed = s.length;
  return s.length;
}

// A page that begins as found and that its holder may write on in.
PageIndex KvCache::adopt_part(const PagePool::Found& found, TextName before, std::span<const Token> text) {
  pool_.share(found.page);
  if (pool_.holders(found.page) == 1 && pool_.known(found.page) == found.cells) return found.page;
  const PageIndex page = copier_ == nullptr ? kNoPage : pool_.take();
  if (page != kNoPage) {
    if (copier_->copy_page(found.page, page)) {
      pool_.append(page, before, text);
    } else {
      pool_.release(page);
      pool_.release(found.page);
      return kNoPage;
    }
  }
  pool_.release(found.page);
  return page;
}

}  // namespace loadline::exec
