// How activations are prepared for a matrix product, and how large the result is. Shared by the planner, which reserves
// the bytes, and by the CPU kernels, which fill them; it computes nothing itself.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "quant/format.h"

namespace loadline::quant {

// What a weight format multiplies with.
enum class ActivationKind : std::uint8_t {
  Int8,      // blocks of 256 signed bytes with one float scale and the sums of each 16 (all quantised formats)
  Float32,   // as they are (F32 and F16 weights)
  BFloat16,  // rounded to bfloat16 (BF16 weights)
};

constexpr std::uint32_t kActivationBlock = 256;
// Tokens are prepared in groups of this many, so that a kernel finds the same block of several tokens side by side.
constexpr std::uint32_t kActivationTokens = 16;

// One token's block of 256 values, the last block of a row padded with zeros.
struct alignas(64) Int8Block {
  std::int8_t values[kActivationBlock];
  float scale;  // value = scale * values[i]
  std::int32_t padding[3];
  std::int16_t sums[16];   // of values[16 i .. 16 i + 15]
  std::int32_t sums32[8];  // of values[32 i .. 32 i + 31]
};

ActivationKind activation_kind(TensorType weights);

// Bytes of `tokens` prepared rows of `columns` values. Alignment 64.
Bytes activation_bytes(ActivationKind kind, std::uint64_t columns, std::uint64_t tokens);

}  // namespace loadline::quant
