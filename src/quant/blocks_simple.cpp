// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: 32 values and one scale, with or without a minimum.
#include <algorithm>
#include <cmath>

#include "quant/blocks.h"
#include "quant/search.h"

namespace loadline::quant {
namespace {

constexpr int kValues = 32;
constexpr int kHalf = kValues / 2;

unsigned load_bits(const std::uint8_t (&bytes)[4]) {
  return bytes[0] | unsigned{bytes[1]} << 8 | unsigned{bytes[2]} << 16 | unsigned{bytes[3]} << 24;
}

void store_bits(unsigned bits, std::uint8_t (&bytes)[4]) {
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>(bits >> (8 * i));
}

// The unsigned quant of value i: its nibble, and its bit of `high` as the fifth.
unsigned quant_at(const std::uint8_t (&nibbles)[16], unsigned high, int i) {
  const unsigned nibble = i < kHalf ? nibbles[i] & 15U : nibbles[i - kHalf] >> 4U;
  return nibble | ((high >> i) & 1U) << 4U;
}

void put_quant(std::uint8_t (&nibbles)[16], unsigned& high, int i, int quant) {
  const auto value = static_cast<unsigned>(quant);
  nibbles[i % kHalf] |= static_cast<std::uint8_t>((value & 15U) << (i < kHalf ? 0 : 4));
  high |= (value >> 4U) << i;
}

// The value of largest magnitude, with its sign; the first of several.
float signed_peak(const float* values) {
  float peak = 0.0F;
  for (int i = 0; i < kValues; ++i) {
    if (std::fabs(values[i]) > std::fabs(peak)) peak = values[i];
  }
  return peak;
}

// Both symmetric formats have one more level below zero than above it, so the value of largest magnitude is given the
// lowest level whatever its sign: the scale carries the sign.
template <int lowest, class B>
unsigned encode_symmetric(const float* values, B& block) {
  block.scale = scale_to_half(signed_peak(values) / lowest);
  const float inverse = inverse_of(half_to_float(block.scale));
  unsigned high = 0;
  for (int i = 0; i < kValues; ++i) {
    put_quant(block.nibbles, high, i, round_clamped(values[i] * inverse, lowest, -lowest - 1) - lowest);
  }
  return high;
}

// The smallest value is level 0, the largest the highest level.
template <int highest, class B>
unsigned encode_with_minimum(const float* values, B& block) {
  const auto [smallest, largest] = std::minmax_element(values, values + kValues);
  block.minimum = clamp_to_half(*smallest);
  const float minimum = half_to_float(block.minimum);
  block.scale = scale_to_half(*largest / highest - minimum / highest);
  const float inverse = inverse_of(half_to_float(block.scale));
  unsigned high = 0;
  for (int i = 0; i < kValues; ++i) {
    put_quant(block.nibbles, high, i, round_clamped((values[i] - minimum) * inverse, 0, highest));
  }
  return high;
}

}  // namespace

void decode_block(const Block<TensorType::Q4_0>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int i = 0; i < kValues; ++i) {
    values[i] = static_cast<float>(static_cast<int>(quant_at(block.nibbles, 0, i)) - 8) * scale;
  }
}

void decode_block(const Block<TensorType::Q4_1>& block, float* values) {
  const float scale = half_to_float(block.scale);
  const float minimum = half_to_float(block.minimum);
  for (int i = 0; i < kValues; ++i) {
    values[i] = static_cast<float>(quant_at(block.nibbles, 0, i)) * scale + minimum;
  }
}

void decode_block(const Block<TensorType::Q5_0>& block, float* values) {
  const float scale = half_to_float(block.scale);
  const unsigned high = load_bits(block.high);
  for (int i = 0; i < kValues; ++i) {
    values[i] = static_cast<float>(static_cast<int>(quant_at(block.nibbles, high, i)) - 16) * scale;
  }
}

void decode_block(const Block<TensorType::Q5_1>& block, float* values) {
  const float scale = half_to_float(block.scale);
  const float minimum = half_to_float(block.minimum);
  const unsigned high = load_bits(block.high);
  for (int i = 0; i < kValues; ++i) {
    values[i] = static_cast<float>(quant_at(block.nibbles, high, i)) * scale + minimum;
  }
}

void decode_block(const Block<TensorType::Q8_0>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int i = 0; i < kValues; ++i) values[i] = static_cast<float>(block.values[i]) * scale;
}

void encode_block(const float* values, Block<TensorType::Q4_0>& block) { encode_symmetric<-8>(values, block); }

void encode_block(const float* values, Block<TensorType::Q4_1>& block) { encode_with_minimum<15>(values, block); }

void encode_block(const float* values, Block<TensorType::Q5_0>& block) {
  store_bits(encode_symmetric<-16>(values, block), block.high);
}

void encode_block(const float* values, Block<TensorType::Q5_1>& block) {
  store_bits(encode_with_minimum<31>(values, block), block.high);
}

void encode_block(const float* values, Block<TensorType::Q8_0>& block) {
  block.scale = scale_to_half(std::fabs(signed_peak(values)) / 127.0F);
  const float inverse = inverse_of(half_to_float(block.scale));
  for (int i = 0; i < kValues; ++i) {
    block.values[i] = static_cast<std::int8_t>(round_clamped(values[i] * inverse, -127, 127));
  }
}

}  // namespace loadline::quant
