#include "backend/cpu/tile.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/layout.h"

namespace loadline::cpu {

Tile tile_of(const Matrix& matrix, std::uint64_t index) {
  return tile_of(matrix, index, quant::size_of(matrix.type, matrix.columns).value);
}

Tile tile_of(const Matrix& matrix, std::uint64_t index, std::size_t row_bytes) {
  const std::uint64_t rows = std::min<std::uint64_t>(kTileRows, matrix.rows - index * kTileRows);
  Tile tile{};
  tile.data = matrix.data + index * kTileRows * row_bytes;
  tile.superblocks = static_cast<std::uint32_t>((matrix.columns + 255) / 256);
  tile.direct = rows == kTileRows ? static_cast<std::uint32_t>(matrix.columns / 256) : 0;
  tile.rows = static_cast<std::uint32_t>(rows);
  tile.matrix = &matrix;
  return tile;
}

void copy_superblock(const Tile& tile, std::uint32_t index, std::byte* target) {
  const TensorType type = tile.matrix->type;
  const BlockLayout& layout = block_layout(type);
  const std::uint64_t first = std::uint64_t{index} * 256;
  const std::uint64_t values = std::min<std::uint64_t>(256, tile.matrix->columns - first);
  const std::uint64_t blocks = values / layout.elements;
  const std::size_t offset = quant::size_of(type, first).value;  // in a row
  const std::size_t whole = kTileRows * quant::size_of(type, 256).value;
  const std::size_t done = blocks * layout.bytes;
  if (tile.rows == kTileRows) {
    std::memcpy(target, tile.data + kTileRows * offset, kTileRows * done);
  } else {
    const std::size_t row_bytes = quant::size_of(type, tile.matrix->columns).value;
    interleave(layout, tile.data + offset, row_bytes, tile.rows, blocks, target);
  }
  std::memset(target + kTileRows * done, 0, whole - kTileRows * done);
  if (values % layout.elements == 0) return;
  // The last value of an odd row of BF16, as a pair with zero.
  const std::size_t row_bytes = quant::size_of(type, tile.matrix->columns).value;
  for (std::uint32_t r = 0; r < tile.rows; ++r) {
    const std::byte* value = tile.rows == kTileRows ? tile.data + kTileRows * (offset + done) + r * std::size_t{2}
                                                    : tile.data + r * row_bytes + offset + done;
    std::memcpy(target + kTileRows * done + r * std::size_t{4}, value, 2);
  }
}

}  // namespace loadline::cpu
