#include "exec/kv_cache.h"

#include <algorithm>

#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

std::uint32_t pages_for(std::uint32_t cells) { return (cells + quant::kKvPageCells - 1) / quant::kKvPageCells; }

}  // namespace

KvCache::KvCache(std::uint32_t pages, std::uint32_t sequences, std::uint32_t most_cells)
    : most_cells_(most_cells), sequences_(sequences), free_(pages) {
  for (std::uint32_t i = 0; i < pages; ++i) free_[i] = pages - 1 - i;
  for (Sequence& sequence : sequences_) sequence.pages.reserve(pages);
}

std::uint32_t KvCache::room(std::uint32_t sequence) const {
  const Sequence& s = sequences_[sequence];
  const auto held = static_cast<std::uint32_t>(s.pages.size() + free_.size());
  return std::min(held * quant::kKvPageCells, most_cells_) - s.length;
}

bool KvCache::extend(std::uint32_t sequence, std::uint32_t cells) {
  if (cells > room(sequence)) return false;
  Sequence& s = sequences_[sequence];
  s.length += cells;
  while (s.pages.size() < pages_for(s.length)) {
    s.pages.push_back(free_.back());
    free_.pop_back();
  }
  return true;
}

void KvCache::truncate(std::uint32_t sequence, std::uint32_t length) {
  Sequence& s = sequences_[sequence];
  s.length = std::min(s.length, length);
  while (s.pages.size() > pages_for(s.length)) {
    free_.push_back(s.pages.back());
    s.pages.pop_back();
  }
}

}  // namespace loadline::exec
