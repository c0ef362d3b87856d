// Rounding to levels, storing scales, and the searches for them: what the encoders share. Internal to this module.
// Everything here keeps finite inputs finite: a scale too large for half precision is clamped, one too small for it
// becomes the smallest there is, and a zero scale encodes zeros.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/half.h"
#include "quant/blocks.h"

namespace loadline::quant {

// The nearest half-precision number, the largest finite one for what lies beyond it.
inline std::uint16_t clamp_to_half(float value) { return float_to_half(std::clamp(value, -65504.0F, 65504.0F)); }

// A scale as blocks store it. Subnormal halves are coarse: there the magnitude is rounded up, so that no level of the
// block is too short for its largest value, and only zero becomes zero.
inline std::uint16_t scale_to_half(float value) {
  const float magnitude = std::fabs(value);
  if (magnitude >= 0x1p-14F) return clamp_to_half(value);
  const auto units = static_cast<std::uint16_t>(std::ceil(magnitude * 0x1p24F));
  return std::signbit(value) ? units | 0x8000U : units;
}

// 1 / scale, and 0 for 0.
inline float inverse_of(float scale) { return scale == 0.0F ? 0.0F : 1.0F / scale; }

// The integer in [low, high] nearest to `value` (ties to even); |low| and |high| below 2^22, `value` may be infinite.
inline int round_clamped(float value, int low, int high) {
  // Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the sum: faster than a call to the C library.
  constexpr float kShift = 12582912.0F;
  const float clamped = std::clamp(value, static_cast<float>(low), static_cast<float>(high));
  return std::bit_cast<std::int32_t>(clamped + kShift) - std::bit_cast<std::int32_t>(kShift);
}

// A block's values times a power of two that brings the largest magnitude into [1, 2), so that their squares neither
// overflow nor vanish. A block is empty when every value rounds to zero even under the smallest scale.
template <std::size_t count>
class Normalized {
 public:
  explicit Normalized(const float* values) {
    float peak = 0.0F;
    for (std::size_t i = 0; i < count; ++i) peak = std::max(peak, std::fabs(values[i]));
    empty_ = peak < 0x1p-26F;
    if (empty_) return;
    exponent_ = std::ilogb(peak);
    const float factor = std::ldexp(1.0F, -exponent_);
    for (std::size_t i = 0; i < count; ++i) values_[i] = values[i] * factor;
  }

  [[nodiscard]] bool empty() const { return empty_; }
  [[nodiscard]] std::span<const float, count> values() const { return values_; }
  [[nodiscard]] std::span<const float> group(std::size_t index, std::size_t size) const {
    return std::span<const float>(values_).subspan(index * size, size);
  }

  // A scale of the normalised values as the block stores it, and what the stored bits mean for them.
  [[nodiscard]] std::uint16_t store(float scale) const { return scale_to_half(std::ldexp(scale, exponent_)); }
  [[nodiscard]] float restore(std::uint16_t bits) const { return std::ldexp(half_to_float(bits), -exponent_); }

 private:
  std::array<float, count> values_{};
  int exponent_ = 0;
  bool empty_ = true;
};

// How much an error at each value counts. Without knowledge of the activations, large weights matter more than small
// ones: they are what a product is made of. The weight of x is |x| plus half the root mean square of its group;
// measured on random weights, this floor lowers the plain error of every format and hardly raises the weighted one.
constexpr std::size_t kLargestGroup = 32;
using Weights = std::array<float, kLargestGroup>;
Weights weights_by_magnitude(std::span<const float> values);

// value ~ scale * level - minimum, scale and minimum not negative.
struct AffineFit {
  float scale = 0.0F;
  float minimum = 0.0F;
};

// Searches for the levels 0..highest and the weighted least squares fit to them. Tries `steps` + 1 spacings, the n-th
// taking the range of the values for highest + first + n * step levels.
struct AffineSearch {
  int highest;
  int steps;
  float first;
  float step;
};
AffineFit fit_affine(std::span<const float> values, const Weights& weights, const AffineSearch& search);

// value ~ scale * level with levels lowest..-lowest-1; the scale takes the sign that gives the value of largest
// magnitude the lowest level, or nearly that.
float fit_symmetric(std::span<const float> values, const Weights& weights, int lowest);

// value ~ scale * kIq4Values[index].
float fit_iq4(std::span<const float> values, const Weights& weights);

// Index of the element of kIq4Values nearest to `value`.
inline int nearest_iq4(float value) {
  constexpr auto kMiddles = [] {
    std::array<float, 15> middles{};
    for (std::size_t i = 0; i < middles.size(); ++i)
      middles[i] = 0.5F * static_cast<float>(kIq4Values[i] + kIq4Values[i + 1]);
    return middles;
  }();
  int index = 0;
  for (int half = 8; half > 0; half /= 2) {
    if (value > kMiddles[static_cast<std::size_t>(index + half - 1)]) index += half;
  }
  return index;
}

}  // namespace loadline::quant
