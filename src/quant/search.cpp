#include "quant/search.h"

namespace loadline::quant {
namespace {

// Groups whose largest magnitude or range is below this share of the block's encode as zeros or a constant; the next
// representable scale is far above it, and its inverse is finite.
constexpr float kNegligible = 0x1p-60F;

float signed_peak(std::span<const float> values) {
  float peak = 0.0F;
  for (const float value : values) {
    if (std::fabs(value) > std::fabs(peak)) peak = value;
  }
  return peak;
}

// Tries the scales 1 / inverse for the given inverses, refits each to the levels it leads to by weighted least squares,
// and returns the fit that explains most. `level` maps value / scale to a level.
template <class Inverses, class Level>
float best_scale(std::span<const float> values, const Weights& weights, const Inverses& inverses, Level level) {
  float best = 0.0F;
  float best_gain = 0.0F;
  for (const float inverse : inverses) {
    float value_level = 0.0F;
    float level_level = 0.0F;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float l = level(values[i] * inverse);
      value_level += weights[i] * values[i] * l;
      level_level += weights[i] * l * l;
    }
    // The weighted squared error falls by scale * value_level at the optimum scale.
    if (level_level > 0.0F && value_level * value_level > best_gain * level_level) {
      best = value_level / level_level;
      best_gain = best * value_level;
    }
  }
  return best;
}

// The sums that a weighted linear fit of values to levels needs.
struct Moments {
  float weight = 0.0F, level = 0.0F, level_level = 0.0F, value = 0.0F, value_level = 0.0F;
};

// The best scale and minimum for these moments, and by how much they lower the weighted squared error.
AffineFit solve(const Moments& m, float& gain) {
  const float determinant = m.weight * m.level_level - m.level * m.level;
  // All values on one level, or nearly: what is left of the difference is rounding.
  const bool determined = determinant > 1e-6F * m.weight * m.level_level;
  if (determined) {
    const float scale = (m.weight * m.value_level - m.value * m.level) / determinant;
    const float offset = (m.level_level * m.value - m.level * m.value_level) / determinant;
    if (offset <= 0.0F && scale >= 0.0F) {
      gain = scale * m.value_level + offset * m.value;
      return {scale, -offset};
    }
  }
  if (m.level_level <= 0.0F || m.value_level <= 0.0F) {
    gain = 0.0F;
    return {};
  }
  const float scale = m.value_level / m.level_level;  // minima cannot lie above zero
  gain = scale * m.value_level;
  return {scale, 0.0F};
}

}  // namespace

Weights weights_by_magnitude(std::span<const float> values) {
  float squares = 0.0F;
  for (const float value : values) squares += value * value;
  const float base = 0.5F * std::sqrt(squares / static_cast<float>(values.size()));
  Weights weights;
  for (std::size_t i = 0; i < values.size(); ++i) weights[i] = base + std::fabs(values[i]);
  return weights;
}

AffineFit fit_affine(std::span<const float> values, const Weights& weights, const AffineSearch& search) {
  const auto [smallest, largest] = std::minmax_element(values.begin(), values.end());
  const float low = std::min(*smallest, 0.0F);
  const float range = *largest - low;
  if (range < kNegligible) return {0.0F, -low};
  const auto highest = static_cast<float>(search.highest);
  AffineFit best{range / highest, -low};
  float best_gain = 0.0F;
  for (int n = 0; n <= search.steps; ++n) {
    const float inverse = (highest + search.first + search.step * static_cast<float>(n)) / range;
    Moments m;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto level = static_cast<float>(round_clamped((values[i] - low) * inverse, 0, search.highest));
      const float weighted_level = weights[i] * level;
      m.weight += weights[i];
      m.level += weighted_level;
      m.level_level += weighted_level * level;
      m.value += weights[i] * values[i];
      m.value_level += weighted_level * values[i];
    }
    float gain = 0.0F;
    const AffineFit fit = solve(m, gain);
    if (gain > best_gain) {
      best = fit;
      best_gain = gain;
    }
  }
  return best;
}

float fit_symmetric(std::span<const float> values, const Weights& weights, int lowest) {
  const float peak = signed_peak(values);
  if (std::fabs(peak) < kNegligible) return 0.0F;
  std::array<float, 19> inverses;
  for (int n = 0; n < 19; ++n) inverses[n] = (static_cast<float>(lowest) + 0.1F * static_cast<float>(n - 9)) / peak;
  return best_scale(values, weights, inverses,
                    [lowest](float v) { return static_cast<float>(round_clamped(v, lowest, -lowest - 1)); });
}

float fit_iq4(std::span<const float> values, const Weights& weights) {
  const float peak = signed_peak(values);
  if (std::fabs(peak) < kNegligible) return 0.0F;
  std::array<float, 15> inverses;
  for (int n = 0; n < 15; ++n) inverses[n] = static_cast<float>(kIq4Values[0] + n - 7) / peak;
  return best_scale(values, weights, inverses,
                    [](float v) { return static_cast<float>(kIq4Values[static_cast<std::size_t>(nearest_iq4(v))]); });
}

}  // namespace loadline::quant
