// Which cells of the KV cache belong to which sequence. All cells are one pool of pages, which sequences that begin
// alike share. Bookkeeping alone: the bytes are the devices'.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "exec/page_pool.h"

namespace loadline::exec {

// Who can copy what a page holds, on every device that has a part of it. Between passes.
class PageCopier {
 public:
  virtual ~PageCopier() = default;
  // False where some device cannot; nothing is then to be believed of `to`.
  virtual bool copy_page(PageIndex from, PageIndex to) = 0;
};

// Sequences grow at their end and are cut at their end; cell i of a sequence holds position i. A sequence grows in two
// steps: `extend` before a pass finds the pages, `commit` after it says what they hold now, and what was extended and
// not committed is cut off again by `cut`. Allocates only when constructed. Not thread-safe. A sequence number out of
// range throws Error(Internal).
class KvCache {
 public:
  // No sequence grows beyond `most_cells`: what attention's workspace was planned for. `copier` may be null: then only
  // whole pages are shared. `has_states`: some layers keep a state for each sequence, which is as it was before the
  // last pass, no further back, and belongs to one sequence alone.
  KvCache(std::uint32_t pages, std::uint32_t sequences, std::uint32_t most_cells, PageCopier* copier = nullptr,
          bool has_states = false);

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

  // Adds cells. False, with the sequence as it was, where there is no room or a page that others hold too could not be
  // copied.
  bool extend(std::uint32_t sequence, std::uint32_t cells);
  // The cells after those committed so far hold these tokens: a pass computed them.
  void commit(std::uint32_t sequence, std::span<const Token> tokens);

  // The most cells, up to `length`, that the sequence can be cut back to: all that is asked for where every cell is
  // still there, less where a page that others hold too would have to be copied and nobody can. (A window's cells that
  // were overwritten, and a state without a snapshot, would not be there.)
  [[nodiscard]] std::uint32_t can_cut(std::uint32_t sequence, std::uint32_t length) const;
  // Keeps the first can_cut(length) cells; pages that are left are kept for what they hold, if nobody else holds them.
  void cut(std::uint32_t sequence, std::uint32_t length);

  // Of cells that are about to be added, how many `cut` can take off again afterwards: guesses may be so many.
  [[nodiscard]] std::uint32_t most_taken_off(std::uint32_t /*sequence*/) const { return has_states_ ? 0 : most_cells_; }

  // Where the sequence's state is now (backend::TokenRun::state); a pass that is committed leaves it in the other
  // place.
  [[nodiscard]] std::uint32_t state(std::uint32_t sequence) const { return 2 * sequence + at(sequence).place; }

  // Cells that a text shares with what is in the cache, at most `most`.
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
    std::uint32_t place = 0;  // of its state, 0 or 1
    std::vector<PageIndex> pages;
  };
  Sequence& at(std::uint32_t sequence);
  [[nodiscard]] const Sequence& at(std::uint32_t sequence) const;
  [[nodiscard]] bool copies(const Sequence& sequence) const;
  bool copy_last(Sequence& sequence);
  [[nodiscard]] TextName text_before(const Sequence& sequence, std::size_t page) const;
  PageIndex adopt_part(const PagePool::Found& found, TextName before, std::span<const Token> text);

  std::uint32_t most_cells_;
  PageCopier* copier_;
  bool has_states_;
  PagePool pool_;
  std::vector<Sequence> sequences_;
};

}  // namespace loadline::exec
