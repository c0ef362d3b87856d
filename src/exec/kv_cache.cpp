#include "exec/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

using quant::kKvPageCells;

}  // namespace

KvCache::KvCache(std::uint32_t pages, std::uint32_t sequences, std::uint32_t most_cells, PageCopier* copier,
                 const OtherCaches& others)
    : most_cells_(most_cells), copier_(copier), pool_(pages), sequences_(sequences) {
  if (others.window_pages > 0) windows_.emplace(others.window_pages, others.window, sequences, most_cells);
  if (others.states > 0) states_.emplace(others.states);
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
  if (windows_ && !extend_windows(sequence, cells)) return false;
  if (states_) {
    release_state(s.before);
    if (s.next == kNoPlace) s.next = states_->take();
  }
  // What the page held behind the sequence's end is written over.
  if (s.length % kKvPageCells != 0) pool_.cut(s.pages.back(), s.length % kKvPageCells);
  s.length += cells;
  while (s.pages.size() < pages_for(s.length)) s.pages.push_back(pool_.take());
  return true;
}

// No sequence keeps more of its windows than its next token sees, so that there are enough pages (plan::window_pages).
void KvCache::trim_windows() {
  for (std::uint32_t i = 0; i < sequences_.size(); ++i) windows_->trim(i, sequences_[i].committed);
}

bool KvCache::extend_windows(std::uint32_t sequence, std::uint32_t cells) {
  trim_windows();
  const Sequence& s = sequences_[sequence];
  const std::uint32_t in_page = s.length % kKvPageCells;
  if (in_page != 0) {
    const std::size_t last = s.length / kKvPageCells;
    if (windows_->shares(sequence, s.length)) {
      const PageIndex shared = windows_->pages(sequence)[last];
      const PageIndex page = windows_->pool().take();
      if (page == kNoPage) return false;
      if (copier_ == nullptr || !copier_->copy_window_page(shared, page)) {
        windows_->pool().release(page);
        return false;
      }
      windows_->pool().append(page, text_before(s, last),
                              windows_->pool().tokens(shared).first(s.committed % kKvPageCells));
      windows_->replace(sequence, static_cast<std::uint32_t>(last), page);
    }
    windows_->pool().cut(windows_->pages(sequence)[last], in_page);
  }
  return windows_->take(sequence, s.length + cells);
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
  if (states_ && !tokens.empty()) {
    release_state(s.before);
    s.before = std::exchange(s.now, std::exchange(s.next, kNoPlace));
    s.before_length = s.committed;
  }
  while (!tokens.empty()) {
    const std::size_t page = s.committed / kKvPageCells;
    const std::size_t count = std::min<std::size_t>(kKvPageCells - s.committed % kKvPageCells, tokens.size());
    const TextName before = text_before(s, page);
    pool_.append(s.pages[page], before, tokens.first(count));
    if (windows_) windows_->pool().append(windows_->pages(sequence)[page], before, tokens.first(count));
    s.committed += static_cast<std::uint32_t>(count);
    tokens = tokens.subspan(count);
  }
}

std::uint32_t KvCache::can_cut(std::uint32_t sequence, std::uint32_t length) const {
  const Sequence& s = at(sequence);
  if (length >= s.length) return s.length;
  if (states_ && length < s.committed) {
    // Of a pass that found it at the beginning, a sequence's state before is nothing.
    const bool before = length >= s.before_length && (s.before != kNoPlace || s.before_length == 0);
    length = before ? s.before_length : 0;
  }
  const bool shared = length % kKvPageCells != 0 && (pool_.holders(s.pages[length / kKvPageCells]) > 1 ||
                                                     (windows_ && windows_->shares(sequence, length)));
  if (shared && copier_ == nullptr) length = states_ ? 0 : length / kKvPageCells * kKvPageCells;
  return windows_ && !windows_->reaches(sequence, length) ? 0 : length;
}

void KvCache::cut(std::uint32_t sequence, std::uint32_t length) {
  Sequence& s = at(sequence);
  s.length = can_cut(sequence, length);
  if (states_) cut_state(s);
  s.committed = std::min(s.committed, s.length);
  if (windows_) windows_->cut(sequence, s.length);
  while (s.pages.size() > pages_for(s.length)) {
    pool_.release(s.pages.back());
    s.pages.pop_back();
  }
}

void KvCache::forget(std::uint32_t sequence) {
  Sequence& s = at(sequence);
  for (const PageIndex page : s.pages) {
    if (pool_.holders(page) == 1) pool_.cut(page, 0);
  }
  s.committed = 0;
  cut(sequence, 0);
}

// Its length is about to be what it is now. One that comes to its end leaves its state as a snapshot.
void KvCache::cut_state(Sequence& sequence) {
  if (sequence.length > sequence.committed) return;
  release_state(sequence.next);
  if (sequence.length == sequence.committed && sequence.length > 0) return;
  if (sequence.length == 0) {
    name_state(sequence);
    release_state(sequence.before);
    release_state(sequence.now);
    sequence.before_length = 0;
    return;
  }
  release_state(sequence.now);
  sequence.now = std::exchange(sequence.before, kNoPlace);
}

void KvCache::release_state(PlaceIndex& place) {
  if (place != kNoPlace) states_->release(place);
  place = kNoPlace;
}

// The state now is that of what is committed.
void KvCache::name_state(const Sequence& sequence) {
  if (sequence.now == kNoPlace || sequence.committed == 0) return;
  const std::size_t page = (sequence.committed - 1) / kKvPageCells;
  const std::size_t cells = sequence.committed - page * kKvPageCells;
  states_->name(sequence.now, text_before(sequence, page), pool_.tokens(sequence.pages[page]).first(cells));
}

void KvCache::keep_state(std::uint32_t sequence) {
  if (states_) name_state(at(sequence));
}

std::uint32_t KvCache::state(std::uint32_t sequence) const {
  const Sequence& s = at(sequence);
  return s.now == kNoPlace ? 0 : s.now;
}
std::uint32_t KvCache::state_after(std::uint32_t sequence) const {
  const Sequence& s = at(sequence);
  return s.next == kNoPlace ? 0 : s.next;
}

// Page after page: as far as full caches have the text, the longest beginning of which the windows too have what comes
// next sees, and of which there is a state.
std::uint32_t KvCache::shared_cells(std::span<const Token> text, std::uint32_t most) const {
  text = text.first(std::min<std::size_t>({text.size(), most, most_cells_}));
  std::uint32_t best = 0;
  std::uint32_t windows_from = 0;  // the first cell since which the windows have all
  TextName before = kEmptyText;
  for (std::uint32_t first = 0; first < text.size(); first += kKvPageCells) {
    const std::span<const Token> rest = text.subspan(first);
    const PagePool::Found found = pool_.find(before, rest);
    const std::uint32_t in_windows = windows_ ? windows_->pool().find(before, rest).cells : kKvPageCells;
    std::uint32_t cells = std::min(found.cells, in_windows);
    if (states_) cells = states_->find(before, rest.first(cells)).cells;
    if (cells > 0 && (!windows_ || windows_->first_seen(first + cells) >= windows_from)) best = first + cells;
    if (in_windows < kKvPageCells) windows_from = first + kKvPageCells;
    if (found.cells < kKvPageCells) break;
    before = pool_.name(found.page);
  }
  return best;
}

std::uint32_t KvCache::pages_taken_by(std::span<const Token> text, std::uint32_t most) const {
  std::uint32_t pages = pages_for(text.size());
  text = text.first(windows_ || states_ ? shared_cells(text, most) : std::min<std::size_t>(text.size(), most));
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
  const bool others = windows_ || states_;
  text = text.first(others ? shared_cells(text, most) : std::min<std::size_t>({text.size(), most, most_cells_}));
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
    const PageIndex page = adopt_part(pool_, found, before, text.subspan(s.length, found.cells));
    if (page == kNoPage) break;
    s.pages.push_back(page);
    s.length += found.cells;
    break;
  }
  s.committed = s.length;
  // With all that belongs to these cells, or not at all.
  if (others && s.length > 0 && (s.length < text.size() || !adopt_others(sequence, text))) cut(sequence, 0);
  return s.length;
}

// What the windows and states have of a text that shared_cells found, and full caches now hold.
bool KvCache::adopt_others(std::uint32_t sequence, std::span<const Token> text) {
  Sequence& s = at(sequence);
  if (windows_) {
    trim_windows();
    const std::uint32_t first = windows_->first_seen(s.length) / kKvPageCells;
    windows_->begin(sequence, first);
    for (std::uint32_t number = first; number < pages_for(s.length); ++number) {
      const TextName before = text_before(s, number);
      std::span<const Token> part = text.subspan(std::size_t{number} * kKvPageCells);
      part = part.first(std::min<std::size_t>(part.size(), kKvPageCells));
      const PagePool::Found found = windows_->pool().find(before, part);
      PageIndex page = kNoPage;
      if (found.cells == kKvPageCells) {
        windows_->pool().share(page = found.page);
      } else if (found.cells == part.size()) {
        page = adopt_part(windows_->pool(), found, before, part);
      }
      if (page == kNoPage) return false;
      windows_->push(sequence, page);
    }
  }
  if (states_) {
    const std::size_t page = (s.length - 1) / kKvPageCells;
    const std::span<const Token> part = text.subspan(page * kKvPageCells);
    const StatePlaces::Found found = states_->find(text_before(s, page), part);
    if (found.cells != part.size()) return false;
    states_->share(found.place);
    s.now = found.place;
    s.before_length = s.length;
  }
  return true;
}

// A page that begins as found and that its holder may write on in.
PageIndex KvCache::adopt_part(PagePool& pool, const PagePool::Found& found, TextName before,
                              std::span<const Token> text) {
  pool.share(found.page);
  if (pool.holders(found.page) == 1 && pool.known(found.page) == found.cells) return found.page;
  const PageIndex page = copier_ == nullptr ? kNoPage : pool.take();
  if (page != kNoPage) {
    const bool copied =
        &pool == &pool_ ? copier_->copy_page(found.page, page) : copier_->copy_window_page(found.page, page);
    if (copied) {
      pool.append(page, before, text);
    } else {
      pool.release(page);
      pool.release(found.page);
      return kNoPage;
    }
  }
  pool.release(found.page);
  return page;
}

}  // namespace loadline::exec
