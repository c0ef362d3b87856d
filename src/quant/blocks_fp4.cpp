// MXFP4 and NVFP4: floating point numbers of four bits under a scale that is a float of eight.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "quant/blocks.h"
#include "quant/search.h"

namespace loadline::quant {
namespace {

// The code of the value nearest to `value`, in the units of kFp4Values; of two as near the smaller.
unsigned nearest_fp4(float value) {
  constexpr std::array<float, 7> kMiddles = {0.5F, 1.5F, 2.5F, 3.5F, 5.0F, 7.0F, 10.0F};
  const float magnitude = std::fabs(value);
  unsigned code = 0;
  while (code < kMiddles.size() && magnitude > kMiddles[code]) ++code;
  return value < 0.0F && code != 0 ? code + 8 : code;
}

float largest_magnitude(std::span<const float> values) {
  float largest = 0.0F;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}

double error_of(std::span<const float> values, float scale) {
  double error = 0;
  for (const float value : values) {
    const double difference = double{value} - double{scale} * kFp4Values[nearest_fp4(value / scale)];
    error += difference * difference;
  }
  return error;
}

}  // namespace

void decode_block(const Block<TensorType::MXFP4>& block, float* values) {
  const float scale = e8m0_half(block.scale);
  for (int j = 0; j < 16; ++j) {
    values[j] = static_cast<float>(kFp4Values[block.nibbles[j] & 15U]) * scale;
    values[j + 16] = static_cast<float>(kFp4Values[block.nibbles[j] >> 4U]) * scale;
  }
}

void decode_block(const Block<TensorType::NVFP4>& block, float* values) {
  for (int t = 0; t < 4; ++t) {
    const float scale = ue4m3_half(block.scales[t]);
    for (int j = 0; j < 8; ++j) {
      values[16 * t + j] = static_cast<float>(kFp4Values[block.halves[8 * t + j] & 15U]) * scale;
      values[16 * t + 8 + j] = static_cast<float>(kFp4Values[block.halves[8 * t + j] >> 4U]) * scale;
    }
  }
}

// Of the two powers of two that the largest magnitude suggests, that which leaves the least error.
void encode_block(const float* values, Block<TensorType::MXFP4>& block) {
  const std::span<const float> all(values, 32);
  const float largest = largest_magnitude(all);
  if (largest == 0.0F) return;  // value 0, as the block is
  // 12 * 2^(e - 128) is the largest value; 254 is the largest exponent that is a number.
  const int suggested = std::ilogb(largest) + 128 - 3;
  const auto limited = [](int e) { return static_cast<std::uint8_t>(std::clamp(e, 0, 252)); };
  block.scale = limited(suggested);
  for (const int e : {suggested + 1, suggested - 1}) {
    if (error_of(all, e8m0_half(limited(e))) < error_of(all, e8m0_half(block.scale))) block.scale = limited(e);
  }
  const float scale = e8m0_half(block.scale);
  for (std::size_t j = 0; j < 16; ++j) {
    block.nibbles[j] =
        static_cast<std::uint8_t>(nearest_fp4(values[j] / scale) | nearest_fp4(values[j + 16] / scale) << 4U);
  }
}

// The scale near the one that gives the largest magnitude the largest value which leaves the least error.
void encode_block(const float* values, Block<TensorType::NVFP4>& block) {
  for (std::size_t t = 0; t < 4; ++t) {
    const std::span<const float> part(values + 16 * t, 16);
    const float wanted = largest_magnitude(part) / 12.0F;
    // Scales grow with their bits.
    int nearest = 0x7E;
    while (nearest > 0 && ue4m3_half(static_cast<std::uint8_t>(nearest)) > wanted) --nearest;
    if (wanted == 0.0F) continue;
    double least = std::numeric_limits<double>::infinity();
    for (int bits = std::max(nearest - 3, 1); bits <= std::min(nearest + 4, 0x7E); ++bits) {
      const double error = error_of(part, ue4m3_half(static_cast<std::uint8_t>(bits)));
      if (error >= least) continue;
      least = error;
      block.scales[t] = static_cast<std::uint8_t>(bits);
    }
    const float scale = ue4m3_half(block.scales[t]);
    for (std::size_t j = 0; j < 8; ++j) {
      block.halves[8 * t + j] =
          static_cast<std::uint8_t>(nearest_fp4(part[j] / scale) | nearest_fp4(part[8 + j] / scale) << 4U);
    }
  }
}

}  // namespace loadline::quant
