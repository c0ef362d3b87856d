// TQ1_0, TQ2_0, Q2_0 and Q1_0: values of two or three levels about zero, and one scale.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "quant/blocks.h"
#include "quant/search.h"

namespace loadline::quant {
namespace {

float largest_magnitude(const float* values, int count) {
  float largest = 0.0F;
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::fabs(values[i]));
  return largest;
}

// -1, 0 or 1 as 0, 1 or 2.
unsigned level_of(float value, float inverse) {
  return static_cast<unsigned>(round_clamped(value * inverse, -1, 1) + 1);
}

// Calls each(byte, digit, value) in the order of a block's values.
template <class B, class Each>
void each_digit(B& block, Each&& each) {
  int value = 0;
  for (int n = 0; n < 5; ++n) {
    for (int m = 0; m < 32; ++m) each(block.digits[m], n, value++);
  }
  for (int n = 0; n < 5; ++n) {
    for (int m = 32; m < 48; ++m) each(block.digits[m], n, value++);
  }
  for (int n = 0; n < 4; ++n) {
    for (int m = 0; m < 4; ++m) each(block.rest[m], n, value++);
  }
}

}  // namespace

void decode_block(const Block<TensorType::TQ1_0>& block, float* values) {
  const float scale = half_to_float(block.scale);
  each_digit(block, [&](std::uint8_t byte, int n, int value) {
    values[value] = scale * static_cast<float>(static_cast<int>(ternary_digit(byte, n)) - 1);
  });
}

void decode_block(const Block<TensorType::TQ2_0>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int i = 0; i < kSuperBlock; ++i) {
    const unsigned quant = block.quants[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3U;
    values[i] = scale * static_cast<float>(static_cast<int>(quant) - 1);
  }
}

void decode_block(const Block<TensorType::Q1_0>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int i = 0; i < 128; ++i) values[i] = (block.bits[i / 8] >> (i % 8) & 1U) != 0 ? scale : -scale;
}

void decode_block(const Block<TensorType::Q2_0>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int i = 0; i < 64; ++i) {
    values[i] = scale * static_cast<float>(static_cast<int>(block.quants[i / 4] >> (2 * (i % 4)) & 3U) - 1);
  }
}

void encode_block(const float* values, Block<TensorType::TQ1_0>& block) {
  block.scale = scale_to_half(largest_magnitude(values, kSuperBlock));
  const float inverse = inverse_of(half_to_float(block.scale));
  // The digits as a number, its first digit the highest, of five also where there are only four.
  each_digit(block, [&](std::uint8_t& byte, int n, int value) {
    const bool last = n == (value < 240 ? 4 : 3);
    byte = static_cast<std::uint8_t>(byte * 3U + level_of(values[value], inverse));
    if (!last) return;
    const unsigned number = value < 240 ? byte : byte * 3U;
    byte = static_cast<std::uint8_t>((number * 256U + 242U) / 243U);  // as a fraction, rounded up
  });
}

void encode_block(const float* values, Block<TensorType::TQ2_0>& block) {
  block.scale = scale_to_half(largest_magnitude(values, kSuperBlock));
  const float inverse = inverse_of(half_to_float(block.scale));
  for (int i = 0; i < kSuperBlock; ++i) {
    block.quants[i / 128 * 32 + i % 32] |=
        static_cast<std::uint8_t>(level_of(values[i], inverse) << (2 * (i % 128 / 32)));
  }
}

// The mean magnitude leaves the least squared error.
void encode_block(const float* values, Block<TensorType::Q1_0>& block) {
  const float largest = largest_magnitude(values, 128);
  if (largest == 0.0F) return;
  float sum = 0.0F;
  for (int i = 0; i < 128; ++i) sum += std::fabs(values[i]) / largest;
  block.scale = scale_to_half(sum / 128.0F * largest);
  for (int i = 0; i < 128; ++i) {
    if (values[i] >= 0.0F) block.bits[i / 8] |= static_cast<std::uint8_t>(1U << (i % 8));
  }
}

void encode_block(const float* values, Block<TensorType::Q2_0>& block) {
  block.scale = scale_to_half(largest_magnitude(values, 64));
  const float inverse = inverse_of(half_to_float(block.scale));
  for (int i = 0; i < 64; ++i) {
    block.quants[i / 4] |= static_cast<std::uint8_t>(level_of(values[i], inverse) << (2 * (i % 4)));
  }
}

}  // namespace loadline::quant
