// How the threads divide a product of a few tokens, which is bound by reading the weights: every thread has a share of
// consecutive tiles and reads the share's two halves side by side. What one has left in the end the others take over.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backend/cpu/tile.h"
#include "base/work_shares.h"

namespace loadline::cpu {

// Products by each of the three matrices that a step may have follow each other without a barrier.
constexpr int kPartsOfStep = 3;
static_assert(2 * kPartsOfStep <= WorkShares::kUses);
inline int use_of(std::size_t step, int part) { return static_cast<int>(step % 2) * kPartsOfStep + part; }

struct Part {
  std::uint64_t begin, end;
};
// Of `total` in whole units, one of `shares` equal parts.
inline Part part_of(std::uint64_t total, std::uint64_t unit, int share, int shares) {
  const std::uint64_t units = (total + unit - 1) / unit;
  const auto at = [&](int i) {
    return std::min(total, units * static_cast<std::uint64_t>(i) / static_cast<std::uint64_t>(shares) * unit);
  };
  return {at(share), at(share + 1)};
}

// Calls product(begin, end, alongside), as a MatmulTask has them, until all tiles are claimed or going_on() is false.
// `use` is the number of the work in `shares`, the same for all threads.
template <class GoingOn, class Product>
void run_shares(WorkShares& shares, int use, std::uint64_t tiles, int threads, int thread, GoingOn&& going_on,
                Product&& product) {
  const auto half_of = [&](int share) {
    const Part part = part_of(tiles, 1, share, threads);
    return (part.end - part.begin + 1) / 2;
  };
  while (going_on()) {
    const auto [share, from, to] = shares.claim(use, thread, kRunTiles, half_of);
    if (from == to) return;
    const auto [begin, end] = part_of(tiles, 1, share, threads);
    const std::uint64_t half = half_of(share);
    // The second half of an odd number is shorter by one.
    const std::uint64_t both = std::min(to, end - begin - half);
    if (from < both) product(begin + from, begin + both, half);
    if (both < to) product(begin + std::max(from, both), begin + to, std::uint64_t{0});
  }
}

}  // namespace loadline::cpu
