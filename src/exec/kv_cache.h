// Which cells of the KV cache belong to which sequence. All cells are one pool of pages, which sequences that begin
// alike share. Bookkeeping alone: the bytes are the devices'.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "exec/page_pool.h"
#include "exec/state_places.h"
#include "exec/window_pages.h"

namespace loadline::exec {

// Who can copy what a page holds, on every device that has a part of it. Between passes.
class PageCopier {
 public:
  virtual ~PageCopier() = default;
  // False where some device cannot; nothing is then to be believed of `to`.
  virtual bool copy_page(PageIndex from, PageIndex to) = 0;
  // Of the caches that keep the last positions only.
  virtual bool copy_window_page(PageIndex /*from*/, PageIndex /*to*/) { return false; }
};

// What layers have that do not keep every position.
struct OtherCaches {
  std::uint32_t window_pages = 0;  // of those that keep the last positions only; 0: there are none
  std::uint32_t window = 0;        // as many of which a token sees, its own included
  std::uint32_t states = 0;        // of those that keep a state for each sequence; 0: there are none
};

// Sequences grow at their end and are cut at their end; cell i of a sequence holds position i. A sequence grows in two
// steps: `extend` before a pass finds the pages, `commit` after it says what they hold now, and what was extended and
// not committed is cut off again by `cut`. Allocates only when constructed. Not thread-safe. A sequence number out of
// range throws Error(Internal).
class KvCache {
 public:
  // No sequence grows beyond `most_cells`: what attention's workspace was planned for. `copier` may be null: then only
  // whole pages are shared.
  KvCache(std::uint32_t pages, std::uint32_t sequences, std::uint32_t most_cells, PageCopier* copier = nullptr,
          const OtherCaches& others = {});

  // Who copies from now on.
  void set_copier(PageCopier* copier) { copier_ = copier; }

  [[nodiscard]] std::uint32_t sequences() const { return static_cast<std::uint32_t>(sequences_.size()); }
  [[nodiscard]] std::uint32_t most_cells() const { return most_cells_; }
  [[nodiscard]] std::uint32_t length(std::uint32_t sequence) const { return at(sequence).length; }
  // Cells that could still be added to the sequence, if no other takes their pages.
  [[nodiscard]] std::uint32_t room(std::uint32_t sequence) const;
  // Pages that `extend` would take.
  [[nodiscard]] std::uint32_t pages_needed(std::uint32_t sequence, std::uint32_t cells) const;
  [[nodiscard]] std::uint32_t available_pages() const { return pool_.available(); }
  // Page numbers of the sequence; as many as its length needs.
  [[nodiscard]] const PageIndex* pages(std::uint32_t sequence) const { return at(sequence).pages.data(); }
  [[nodiscard]] const PagePool& pool() const { return pool_; }
  [[nodiscard]] PagePool& pool() { return pool_; }
  // Of the caches that keep the last positions only; null where there are none.
  [[nodiscard]] const PagePool* window_pool() const { return windows_ ? &windows_->pool() : nullptr; }
  // In seconds, for what is told of how pages were used.
  void set_time(double seconds) { pool_.set_time(seconds); }
  // Pages alone are all that a text has here: pinning them keeps it.
  [[nodiscard]] bool can_pin() const { return !windows_ && !states_; }

  // Adds cells. False, with the sequence as it was, where there is no room or a page that others hold too could not be
  // copied.
  bool extend(std::uint32_t sequence, std::uint32_t cells);
  // The cells after those committed so far hold these tokens: a pass computed them.
  void commit(std::uint32_t sequence, std::span<const Token> tokens);

  // The most cells, up to `length`, that the sequence can be cut back to: all that is asked for where every cell is
  // still there, less where a page that others hold too would have to be copied and nobody can. What windows have is
  // still there of the last pass and of what its first token saw, if no other pass came after it. States are there as
  // they are and as they were before the last pass: what was asked for beyond that has to be computed again.
  [[nodiscard]] std::uint32_t can_cut(std::uint32_t sequence, std::uint32_t length) const;
  // Keeps the first can_cut(length) cells; pages that are left are kept for what they hold, if nobody else holds them.
  void cut(std::uint32_t sequence, std::uint32_t length);

  // Keeps none, and what its pages hold is forgotten, but for those that others hold too.
  void forget(std::uint32_t sequence);

  // Whether of the last pass's cells some can be taken off; else only all or none can.
  [[nodiscard]] bool cuts_anywhere() const { return !states_; }

  // Where the sequence's state is, and where a pass leaves it (backend::TokenRun).
  [[nodiscard]] std::uint32_t state(std::uint32_t sequence) const;
  [[nodiscard]] std::uint32_t state_after(std::uint32_t sequence) const;
  // The state as it is now is kept as a snapshot, as long as there is a place for it, when the sequence goes on.
  void keep_state(std::uint32_t sequence);

  // As `pages`, of the caches that keep the last positions only; null where there are none.
  [[nodiscard]] const PageIndex* window_pages(std::uint32_t sequence) const {
    return windows_ ? windows_->pages(sequence) : nullptr;
  }
  [[nodiscard]] bool has_window_pages() const { return windows_.has_value(); }

  // Cells that a text shares with what is in the cache, and can begin with, at most `most`.
  [[nodiscard]] std::uint32_t shared_cells(std::span<const Token> text, std::uint32_t most) const;
  // Pages that are available and would not be any more, were a sequence to adopt what it can and to extend to the end
  // of the text.
  [[nodiscard]] std::uint32_t pages_taken_by(std::span<const Token> text, std::uint32_t most) const;
  // Begins an empty sequence with them, and says how many it has now. A partly shared page is copied, which takes a
  // page; where none is left for that, or nobody copies, whole pages are shared.
  std::uint32_t adopt(std::uint32_t sequence, std::span<const Token> text, std::uint32_t most);

 private:
  struct Sequence {
    std::uint32_t length = 0;
    std::uint32_t committed = 0;
    std::vector<PageIndex> pages;
    PlaceIndex now = kNoPlace;     // its state after what is committed
    PlaceIndex before = kNoPlace;  // and before the last pass, which began at `before_length`
    PlaceIndex next = kNoPlace;    // what the running pass makes of it
    std::uint32_t before_length = 0;
  };
  Sequence& at(std::uint32_t sequence);
  [[nodiscard]] const Sequence& at(std::uint32_t sequence) const;
  [[nodiscard]] bool copies(const Sequence& sequence) const;
  bool copy_last(Sequence& sequence);
  [[nodiscard]] TextName text_before(const Sequence& sequence, std::size_t page) const;
  void trim_windows();
  bool extend_windows(std::uint32_t sequence, std::uint32_t cells);
  void cut_state(Sequence& sequence);
  void release_state(PlaceIndex& place);
  void name_state(const Sequence& sequence);
  bool adopt_others(std::uint32_t sequence, std::span<const Token> text);
  PageIndex adopt_part(PagePool& pool, const PagePool::Found& found, TextName before, std::span<const Token> text);

  std::uint32_t most_cells_;
  PageCopier* copier_;
  PagePool pool_;  // of full caches
  std::optional<WindowPages> windows_;
  std::optional<StatePlaces> states_;
  std::vector<Sequence> sequences_;
};

}  // namespace loadline::exec
