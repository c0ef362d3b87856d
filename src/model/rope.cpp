#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace loadline::model {
namespace {

// The pair index at which a head rotates `rotations` times over the original context (arXiv:2309.00071, section 3.2).
double pair_of_rotations(const RopeConfig& rope, double rotations) {
  const double wavelengths = rope.original_context / (rotations * 2.0 * std::numbers::pi);
  return rope.dimensions * std::log(wavelengths) / (2.0 * std::log(static_cast<double>(rope.base)));
}

}  // namespace

std::vector<float> rope_frequencies(const RopeConfig& rope, std::span<const float> factors) {
  const std::uint32_t pairs = rope.dimensions / 2;
  std::vector<float> frequencies(pairs);
  double low = 0;
  double high = 0;
  if (rope.scaling == RopeConfig::Scaling::Yarn) {
    low = std::max(0.0, std::floor(pair_of_rotations(rope, rope.beta_fast)));
    high = std::min(rope.dimensions - 1.0, std::ceil(pair_of_rotations(rope, rope.beta_slow)));
  }
  for (std::uint32_t i = 0; i < pairs; ++i) {
    double frequency = std::pow(static_cast<double>(rope.base), -2.0 * i / rope.dimensions);
    if (!factors.empty()) frequency /= factors[i];
    if (rope.scaling == RopeConfig::Scaling::Linear) frequency /= rope.factor;
    if (rope.scaling == RopeConfig::Scaling::Yarn) {
      // 1 below `low` (fast pairs keep their angle), 0 above `high` (slow pairs are interpolated).
      const double keep = 1.0 - std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
      frequency = frequency * keep + frequency / rope.factor * (1.0 - keep);
    }
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

void rope_table(const RopeConfig& rope, std::span<const float> frequencies, std::uint32_t position, float* cosines,
                float* sines) {
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float angle = static_cast<float>(position) * frequencies[i];
    cosines[i] = std::cos(angle) * rope.magnitude;
    sines[i] = std::sin(angle) * rope.magnitude;
  }
}

}  // namespace loadline::model
