// IQ4_NL and IQ4_XS: four bits a value that choose one of sixteen unevenly spaced levels.
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

#include "quant/blocks.h"
#include "quant/search.h"

namespace loadline::quant {
namespace {

constexpr int kGroup = 32;

// The group scale of IQ4_XS, -32..31.
int xs_scale(const Block<TensorType::IQ4_XS>& block, int group) {
  const int low = (block.groups_low[group / 2] >> (group % 2 * 4)) & 15;
  const int high = (block.groups_high >> (2 * group)) & 3;
  return (low | high << 4) - 32;
}

void decode_group(const std::uint8_t* nibbles, float scale, float* values) {
  for (int i = 0; i < kGroup / 2; ++i) {
    values[i] = scale * static_cast<float>(kIq4Values[nibbles[i] & 15U]);
    values[i + kGroup / 2] = scale * static_cast<float>(kIq4Values[nibbles[i] >> 4U]);
  }
}

void encode_group(std::span<const float> values, float scale, std::uint8_t* nibbles) {
  const float inverse = inverse_of(scale);
  for (std::size_t i = 0; i < kGroup / 2; ++i) {
    nibbles[i] = static_cast<std::uint8_t>(nearest_iq4(values[i] * inverse) |
                                           nearest_iq4(values[i + kGroup / 2] * inverse) << 4);
  }
}

}  // namespace

void decode_block(const Block<TensorType::IQ4_NL>& block, float* values) {
  decode_group(block.nibbles, half_to_float(block.scale), values);
}

void decode_block(const Block<TensorType::IQ4_XS>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int group = 0; group < kSuperBlock / kGroup; ++group) {
    decode_group(block.nibbles + group * kGroup / 2, scale * static_cast<float>(xs_scale(block, group)),
                 values + group * kGroup);
  }
}

void encode_block(const float* source, Block<TensorType::IQ4_NL>& block) {
  const Normalized<kGroup> values(source);
  block = {};
  if (values.empty()) return;
  block.scale = values.store(fit_iq4(values.values(), weights_by_magnitude(values.values())));
  encode_group(values.values(), values.restore(block.scale), block.nibbles);
}

void encode_block(const float* source, Block<TensorType::IQ4_XS>& block) {
  constexpr std::size_t kGroups = kSuperBlock / kGroup;
  const Normalized<kSuperBlock> values(source);
  block = {};
  if (values.empty()) return;
  std::array<float, kGroups> fits;
  float peak = 0.0F;
  for (std::size_t g = 0; g < kGroups; ++g) {
    const auto group = values.group(g, kGroup);
    fits[g] = fit_iq4(group, weights_by_magnitude(group));
    if (std::fabs(fits[g]) > std::fabs(peak)) peak = fits[g];
  }
  block.scale = values.store(peak / -32.0F);
  const float scale = values.restore(block.scale);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const int integer = round_clamped(fits[g] * inverse_of(scale), -32, 31);
    const auto bits = static_cast<unsigned>(integer + 32);
    block.groups_low[g / 2] |= static_cast<std::uint8_t>((bits & 15U) << (g % 2 * 4));
    block.groups_high |= static_cast<std::uint16_t>((bits >> 4U) << (2 * g));
    encode_group(values.group(g, kGroup), scale * static_cast<float>(integer), block.nibbles + g * kGroup / 2);
  }
}

}  // namespace loadline::quant
