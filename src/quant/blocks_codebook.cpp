// IQ1_S to IQ3_S: indices into a codebook of four or eight values, with signs and scales beside them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "quant/blocks.h"
#include "quant/codebooks.h"
#include "quant/search.h"

namespace loadline::quant {
namespace {

constexpr int kGroups = 8;

std::uint32_t word_of(const std::uint8_t* bytes) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

// Values of an entry from `first` on, with their signs from the lowest bit on.
void put_signed(std::uint64_t entry, unsigned signs, float scale, int count, float* values) {
  for (int j = 0; j < count; ++j) {
    const float magnitude = scale * static_cast<float>(grid_value(entry, j));
    values[j] = (signs >> j & 1U) != 0 ? -magnitude : magnitude;
  }
}

// An eighth of IQ1_S and IQ1_M; the codebook has its values plus 1.
void put_ternary(unsigned index, bool negative, float scale, float* values) {
  const float delta = negative ? -0.125F : 0.125F;
  for (int j = 0; j < 8; ++j) {
    values[j] = scale * (static_cast<float>(static_cast<int>(grid_value(kIq1Grid[index], j)) - 1) + delta);
  }
}

float odd_multiple(float scale, unsigned s) { return scale * static_cast<float>(2 * s + 1); }
// With one half more than s of the scale, and a quarter of that.
float quarter(float scale, unsigned s) { return scale * (0.5F + static_cast<float>(s)) * 0.25F; }

// The scale of values 16 t on of a group.
unsigned nibble_of(std::uint8_t byte, int t) { return byte >> (4 * t) & 15U; }

}  // namespace

void decode_block(const Block<TensorType::IQ1_S>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int b = 0; b < kGroups; ++b) {
    const unsigned high = block.high[b];
    const float of_group = odd_multiple(scale, high >> 12U & 7U);
    for (int l = 0; l < 4; ++l) {
      const unsigned index = block.low[4 * b + l] | (high >> (3 * l) & 7U) << 8U;
      put_ternary(index, high >> 15U != 0, of_group, values + 32 * b + 8 * l);
    }
  }
}

void decode_block(const Block<TensorType::IQ1_M>& block, float* values) {
  unsigned bits = 0;
  for (int i = 0; i < 4; ++i) bits |= (block.groups[i] >> 12U) << (4 * i);
  const float scale = half_to_float(static_cast<std::uint16_t>(bits));
  for (int b = 0; b < kGroups; ++b) {
    for (int l = 0; l < 4; ++l) {
      const unsigned nibble = nibble_of(block.high[2 * b + l / 2], l % 2);
      const unsigned s = block.groups[b / 2] >> (6 * (b % 2) + 3 * (l / 2)) & 7U;
      put_ternary(block.low[4 * b + l] | (nibble & 7U) << 8U, (nibble & 8U) != 0, odd_multiple(scale, s),
                  values + 32 * b + 8 * l);
    }
  }
}

void decode_block(const Block<TensorType::IQ2_XXS>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int b = 0; b < kGroups; ++b) {
    const std::uint32_t word = word_of(block.groups[b].signs);
    for (int l = 0; l < 4; ++l) {
      put_signed(kIq2XxsGrid[block.groups[b].index[l]], signs_of_seven(word >> (7 * l) & 127U),
                 quarter(scale, word >> 28U), 8, values + 32 * b + 8 * l);
    }
  }
}

void decode_block(const Block<TensorType::IQ2_XS>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int i = 0; i < 4 * kGroups; ++i) {
    const unsigned eight = block.eights[i];
    put_signed(kIq2XsGrid[eight & 511U], signs_of_seven(eight >> 9U),
               quarter(scale, nibble_of(block.groups[i / 4], i % 4 / 2)), 8, values + 8 * i);
  }
}

void decode_block(const Block<TensorType::IQ2_S>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int i = 0; i < 4 * kGroups; ++i) {
    const unsigned index = block.low[i] | (block.high[i / 4] >> (2 * (i % 4)) & 3U) << 8U;
    put_signed(kIq2SGrid[index], block.signs[i], quarter(scale, nibble_of(block.groups[i / 4], i % 4 / 2)), 8,
               values + 8 * i);
  }
}

void decode_block(const Block<TensorType::IQ3_XXS>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int b = 0; b < kGroups; ++b) {
    const std::uint32_t word = word_of(block.signs + 4 * b);
    const float of_group = scale * (0.5F + static_cast<float>(word >> 28U)) * 0.5F;
    for (int k = 0; k < 8; ++k) {
      const unsigned signs = signs_of_seven(word >> (7 * (k / 2)) & 127U) >> (4 * (k % 2));
      put_signed(kIq3XxsGrid[block.index[8 * b + k]], signs, of_group, 4, values + 32 * b + 4 * k);
    }
  }
}

void decode_block(const Block<TensorType::IQ3_S>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int b = 0; b < kGroups; ++b) {
    const float of_group = odd_multiple(scale, nibble_of(block.groups[b / 2], b % 2));
    for (int k = 0; k < 8; ++k) {
      const unsigned index = block.low[8 * b + k] | (block.high[b] >> k & 1U) << 8U;
      put_signed(kIq3SGrid[index], unsigned{block.signs[4 * b + k / 2]} >> (4 * (k % 2)), of_group, 4,
                 values + 32 * b + 4 * k);
    }
  }
}

namespace {

// The entry of kIq3SGrid nearest to four magnitudes in its units, weighted.
struct Nearest {
  unsigned index;
  float error;
};
Nearest nearest_entry(std::span<const float> magnitudes, std::span<const float> weights) {
  // Squared distances of each value from each level, once; an entry's error is then four additions.
  std::array<std::array<float, 8>, 4> distances{};
  for (std::size_t j = 0; j < 4; ++j) {
    for (std::size_t level = 0; level < 8; ++level) {
      const float difference = magnitudes[j] - static_cast<float>(2 * level + 1);
      distances[j][level] = weights[j] * difference * difference;
    }
  }
  Nearest best{0, std::numeric_limits<float>::infinity()};
  for (unsigned index = 0; index < kIq3SGrid.size(); ++index) {
    float error = 0.0F;
    for (std::size_t j = 0; j < 4; ++j) error += distances[j][grid_value(kIq3SGrid[index], static_cast<int>(j)) / 2U];
    if (error < best.error) best = {index, error};
  }
  return best;
}

// The entry nearest to each combination of four levels, three bits a level: what choosing a scale is content with.
using NearestOfLevels = std::array<std::uint16_t, 4096>;
NearestOfLevels make_nearest_of_levels() {
  constexpr std::array<float, 4> kAlike = {1.0F, 1.0F, 1.0F, 1.0F};
  NearestOfLevels nearest{};
  for (std::size_t i = 0; i < nearest.size(); ++i) {
    std::array<float, 4> magnitudes{};
    for (std::size_t j = 0; j < 4; ++j) magnitudes[j] = static_cast<float>(2 * (i >> (3 * j) & 7U) + 1);
    nearest[i] = static_cast<std::uint16_t>(nearest_entry(magnitudes, kAlike).index);
  }
  return nearest;
}

// The error that about the nearest entries leave of a group whose scale is 1 / inverse, in its units.
float error_with(std::span<const float> group, const Weights& weights, float inverse) {
  static const NearestOfLevels kNearest = make_nearest_of_levels();
  float error = 0.0F;
  for (std::size_t k = 0; k < group.size(); k += 4) {
    std::size_t levels = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const int level = round_clamped((std::fabs(group[k + j]) * inverse - 1.0F) * 0.5F, 0, 7);
      levels |= static_cast<std::size_t>(level) << (3 * j);
    }
    const std::uint64_t entry = kIq3SGrid[kNearest[levels]];
    for (std::size_t j = 0; j < 4; ++j) {
      const float difference =
          std::fabs(group[k + j]) * inverse - static_cast<float>(grid_value(entry, static_cast<int>(j)));
      error += weights[k + j] * difference * difference;
    }
  }
  return error;
}

}  // namespace

// Every group takes the scale that leaves the least error among some around the one that gives its largest magnitude
// the highest level; the block's scale gives the largest of those the highest integer.
void encode_block(const float* source, Block<TensorType::IQ3_S>& block) {
  constexpr std::size_t kSize = 32;
  const Normalized<kSuperBlock> values(source);
  block = {};
  if (values.empty()) return;
  std::array<Weights, kGroups> weights;
  std::array<float, kGroups> fits{};
  float peak = 0.0F;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const auto group = values.group(g, kSize);
    weights[g] = weights_by_magnitude(group);
    float largest = 0.0F;
    for (const float value : group) largest = std::max(largest, std::fabs(value));
    float least = std::numeric_limits<float>::infinity();
    for (const float levels : {15.0F, 14.0F, 16.5F, 13.0F, 18.0F}) {
      const float scale = largest / levels;
      const float error = error_with(group, weights[g], inverse_of(scale)) * scale * scale;
      if (error < least) {
        least = error;
        fits[g] = scale;
      }
    }
    peak = std::max(peak, fits[g]);
  }
  block.scale = values.store(peak / 31.0F);
  const float scale = values.restore(block.scale);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const auto group = values.group(g, kSize);
    const int s = round_clamped((fits[g] * inverse_of(scale) - 1.0F) * 0.5F, 0, 15);
    block.groups[g / 2] |= static_cast<std::uint8_t>(s << (4 * (g % 2)));
    const float inverse = inverse_of(scale * static_cast<float>(2 * s + 1));
    for (std::size_t k = 0; k < 8; ++k) {
      std::array<float, 4> magnitudes{};
      for (std::size_t j = 0; j < 4; ++j) {
        const float value = group[4 * k + j];
        magnitudes[j] = std::min(std::fabs(value) * inverse, 64.0F);
        if (value < 0.0F) block.signs[4 * g + k / 2] |= static_cast<std::uint8_t>(1U << (4 * (k % 2) + j));
      }
      const unsigned index = nearest_entry(magnitudes, std::span(weights[g]).subspan(4 * k, 4)).index;
      block.low[8 * g + k] = static_cast<std::uint8_t>(index);
      block.high[g] |= static_cast<std::uint8_t>(index >> 8U << k);
    }
  }
}

}  // namespace loadline::quant
