// How activations are prepared for a matrix product, and how large the result is. Shared by the planner, which reserves
// the bytes, and by the CPU kernels, which fill them; it computes nothing itself.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "quant/format.h"

namespace loadline::quant {

// What a weight format multiplies with.
enum class ActivationKind : std::uint8_t {
  Int8,     // blocks of 256 signed bytes with one float scale and their sums (all quantised formats)
  Float32,  // as they are (F32, F16 and BF16 weights)
  // For a processor's matrix unit, from kMatrixTokens tokens on, in the place of the others:
  BfloatTiles,  // of Int8: rounded to bfloat16
  SplitTiles,   // of Float32: as the sum of two bfloat16
};
constexpr std::size_t kActivationKinds = 4;

constexpr std::uint32_t kActivationBlock = 256;
// Tokens that one thread had better prepare together.
constexpr std::uint32_t kActivationTokens = 16;

// Where the sum of group i stands among Int8Block's sums: every four are in the order 0 2 1 3, which is how pairs of
// shorts come out of the packed bytes they are multiplied with.
constexpr int sum_index(int i) { return i % 4 == 1 ? i + 1 : i % 4 == 2 ? i - 1 : i; }

// One token's block of 256 values, the last block of a row padded with zeros; value = scale * values[i].
// The sums serve the weights' offsets: mins (sums), and the 128 that turns a signed weight into the unsigned operand
// of a dot product (starts: what an integer accumulator starts from).
struct alignas(16) Int8Block {
  std::int8_t values[kActivationBlock];  // -127 .. 127
  std::int16_t sums16[16];               // [sum_index(i)]: of values[16 i .. 16 i + 15]
  std::int16_t sums32[8];                // [sum_index(i)]: of values[32 i .. 32 i + 31]
  std::int32_t starts16[16];             // -128 * sum of values[16 i ..]
  std::int32_t starts32[8];              // -128 * sum of values[32 i ..]
  std::int32_t start256;                 // -128 * (sum of all)
  float scale;
  std::int32_t padding[2];  // zero
};

ActivationKind activation_kind(TensorType weights);

// Tokens from which on a matrix unit is worth unpacking the weights for it.
constexpr std::uint32_t kMatrixTokens = 20;
// What a matrix unit takes in the place of Int8 or Float32.
ActivationKind in_tiles(ActivationKind kind);

// Bytes of `tokens` prepared rows of `columns` values. Alignment 64. The layouts:
//   Int8     Int8Block [block][token]
//   Float32  float [token][columns rounded up to 16], zeros in the padding
//   BfloatTiles  bfloat16 [block of 256 values][16 tokens][step of 32 values][token][value], zeros in the last block's
//                padding; whole groups of 16 tokens, of which the last one's missing tokens may hold anything
//   SplitTiles   the same with [part] after [16 tokens]: the rounded values, then what rounding left
Bytes activation_bytes(ActivationKind kind, std::uint64_t columns, std::uint64_t tokens);

}  // namespace loadline::quant
