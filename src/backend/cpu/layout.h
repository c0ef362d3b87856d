// The Rows16 layout: how the fields of a block lie when 16 rows of a matrix are interleaved, and the way there and
// back. Kernels read the layout, this module writes it; it computes nothing.
//
// A tile holds 16 rows, layout block after layout block along the row. In a tile's block, the fields of the ggml block
// structure follow each other, mostly in its order, and inside each, units of 4 bytes (2 for 16-bit floats, 1 for
// scales of a byte) of the 16 rows alternate:
//   byte i of a field after others of `before` bytes, row r  ->  16 * (before + i / unit * unit) + r * unit + i % unit
// So one 64-byte load holds 4 consecutive bytes of each of the 16 rows, which is what integer dot products want. Where
// weights, indices or signs are split in the file, the bits of each row are rearranged before, see rearranged_bits.h.
// Rows past the last whole tile stay as in the file, after the tiles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/cpu/kernels.h"

namespace loadline::cpu {

enum class Bits : std::uint8_t {
  AsInFile,
  Three,
  Six,
  Ones,
  Twos,
  Sevens,
  SevensOfPairs,
  Ninths
};  // see rearranged_bits.h
struct LayoutField {
  std::uint32_t offset, size, unit;  // bytes; `offset` is that in the format's own block
  Bits bits = Bits::AsInFile;
};

// The fields of one layout block, in the order in which they lie in a tile, and what it covers. This is the format's
// own block, except for BF16, whose layout block is a pair of values (the dot product of bfloat16 pairs).
struct BlockLayout {
  std::uint32_t elements;
  std::uint32_t bytes;
  std::span<const LayoutField> fields;
};
const BlockLayout& block_layout(TensorType type);

// Interleaves `count` layout blocks of `rows` (1 to 16) file rows, `row_stride` bytes apart. Missing rows become zeros.
void interleave(const BlockLayout& layout, const std::byte* file_rows, std::size_t row_stride, std::uint32_t rows,
                std::uint64_t count, std::byte* tile);

// The file bytes of elements [first, first + count) of a row; both are multiples of the format's block.
void extract(const Matrix& matrix, std::uint64_t row, std::uint64_t first, std::uint64_t count, std::byte* target);

}  // namespace loadline::cpu
