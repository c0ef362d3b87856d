// The places for states of those layers that keep one for each sequence instead of cells. A pass reads a sequence's
// state in one place and leaves it in another. A place that no sequence holds any more is kept, if it was given a name,
// as a snapshot: the text that it is the state of can be gone on with from there. Bookkeeping alone.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "exec/page_pool.h"
#include "quant/kv_page.h"

namespace loadline::exec {

using PlaceIndex = std::uint32_t;
inline constexpr PlaceIndex kNoPlace = 0xFFFFFFFFU;

// Allocates only when constructed. Not thread-safe.
class StatePlaces {
 public:
  explicit StatePlaces(std::uint32_t places);

  // A place for one holder: one that is no snapshot, or the snapshot that was used longest ago. Throws Error(Internal)
  // where all are held.
  PlaceIndex take();
  void share(PlaceIndex place);
  void release(PlaceIndex place);

  // The place now is a snapshot of the text that ends with these tokens, one to 32, of a page behind a text named
  // `before`.
  void name(PlaceIndex place, TextName before, std::span<const Token> tokens);

  // The snapshot of the longest beginning of `tokens` behind that text, and how many of them it has seen.
  struct Found {
    PlaceIndex place = kNoPlace;
    std::uint32_t cells = 0;
  };
  [[nodiscard]] Found find(TextName before, std::span<const Token> tokens) const;

  // What is allocated for each place, for the plan.
  static constexpr std::size_t bytes_per_place() { return sizeof(Place); }

 private:
  struct Place {
    std::uint32_t holders = 0;
    std::uint32_t cells = 0;  // of `tokens`; 0: it is no snapshot
    TextName before = 0;
    std::uint64_t used = 0;  // when it was given back last
    std::array<Token, quant::kKvPageCells> tokens;
  };
  std::vector<Place> places_;
  std::uint64_t now_ = 0;
};

}  // namespace loadline::exec
