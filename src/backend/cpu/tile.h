// Sixteen rows of a matrix as the kernels walk them: 256 values at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/kernels.h"

namespace loadline::cpu {

// Tokens up to which work is divided as for one, and the most that any product takes straight from the weights' stream
// (KernelTable::few_tokens says of how many a format's does).
constexpr std::uint32_t kFew = 8;

// Tiles whose sums a product of many tokens keeps side by side, and floats of one token's sums.
constexpr std::uint32_t kGroupTiles = 4;
constexpr std::uint32_t kTileSums = kGroupTiles * kTileRows;

// Tiles of each of two runs that a thread takes at once for a few tokens, at most: little, as the next ones go on where
// these end, yet enough for a kernel to write its results together.
constexpr std::uint32_t kRunTiles = 16;

struct Tile {
  const std::byte* data;      // the tile, or the first of the rows after the last whole tile
  std::uint32_t superblocks;  // of 256 values, the last one may be partial
  std::uint32_t direct;  // of these, how many can be read in place: all but a partial last one; none of a partial tile
  std::uint32_t rows;    // 16, or fewer in a partial tile
  const Matrix* matrix;
};

Tile tile_of(const Matrix& matrix, std::uint64_t index);
// The same for who has the bytes of a row already.
Tile tile_of(const Matrix& matrix, std::uint64_t index, std::size_t row_bytes);

// Values [256 * index, ...) of a tile in the layout of a whole tile, zeros where rows or values are missing.
// `target` has room for 16 rows of 256 values, 64-byte aligned.
void copy_superblock(const Tile& tile, std::uint32_t index, std::byte* target);

}  // namespace loadline::cpu
