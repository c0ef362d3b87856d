// Rounding to levels and storing scales: what the encoders share. Internal to this module.
// Everything here keeps finite inputs finite: a scale too large for half precision is clamped, one too small for it
// becomes the smallest there is, and a zero scale encodes zeros.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/half.h"

namespace loadline::quant {

// The nearest half-precision number, the largest finite one for what lies beyond it.
inline std::uint16_t clamp_to_half(float value) {
  return float_to_half(std::clamp(value, -65504.0F, 65504.0F));
}

// As clamp_to_half, but only zero becomes zero: what would round to it takes the smallest subnormal instead, so that
// the integers that multiply the scale still have something to multiply.
inline std::uint16_t scale_to_half(float value) {
  const std::uint16_t bits = clamp_to_half(value);
  if ((bits & 0x7FFFU) == 0 && value != 0.0F) return bits | 1U;
  return bits;
}

// 1 / scale, and 0 for 0.
inline float inverse_of(float scale) {
  return scale == 0.0F ? 0.0F : 1.0F / scale;
}

// The integer in [low, high] nearest to `value` (ties to even); |low| and |high| below 2^22, `value` may be infinite.
inline int round_clamped(float value, int low, int high) {
  // Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the sum: faster than a call to the C library.
  constexpr float kShift = 12582912.0F;
  const float clamped = std::clamp(value, static_cast<float>(low), static_cast<float>(high));
  return std::bit_cast<std::int32_t>(clamped + kShift) - std::bit_cast<std::int32_t>(kShift);
}

}  // namespace loadline::quant
