// Q2_K to Q6_K: 256 values in groups of 16 or 32, whose scales are themselves quantised.
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "quant/blocks.h"
#include "quant/search.h"

namespace loadline::quant {
namespace {

using Values = Normalized<kSuperBlock>;

// What a Q2_K, Q4_K or Q5_K block says, before it is packed into bits.
template <std::size_t groups>
struct AffineBlock {
  std::uint16_t scale = 0;
  std::uint16_t minimum_scale = 0;
  std::array<GroupScale, groups> integers{};
  std::array<std::uint8_t, kSuperBlock> quants{};
};

// The quants of one group under given scales, and the weighted squared error they leave.
float round_group(std::span<const float> group, const Weights& weights, float scale, float minimum, int highest,
                  std::uint8_t* quants) {
  const float inverse = inverse_of(scale);
  float error = 0.0F;
  for (std::size_t i = 0; i < group.size(); ++i) {
    const int quant = round_clamped((group[i] + minimum) * inverse, 0, highest);
    const float difference = group[i] + minimum - scale * static_cast<float>(quant);
    quants[i] = static_cast<std::uint8_t>(quant);
    error += weights[i] * difference * difference;
  }
  return error;
}

// Fits every group alone, takes the block's two scales from the largest group scale and minimum, and then gives every
// group the pair of integers near its own fit that leaves the least error. `highest` is the largest such integer.
template <std::size_t groups>
AffineBlock<groups> encode_affine(const Values& values, const AffineSearch& search, int highest) {
  constexpr std::size_t kSize = kSuperBlock / groups;
  AffineBlock<groups> block;
  std::array<Weights, groups> weights;
  std::array<AffineFit, groups> fits;
  AffineFit peak;
  for (std::size_t g = 0; g < groups; ++g) {
    const auto group = values.group(g, kSize);
    weights[g] = weights_by_magnitude(group);
    fits[g] = fit_affine(group, weights[g], search);
    peak.scale = std::max(peak.scale, fits[g].scale);
    peak.minimum = std::max(peak.minimum, fits[g].minimum);
  }
  block.scale = values.store(peak.scale / static_cast<float>(highest));
  block.minimum_scale = values.store(peak.minimum / static_cast<float>(highest));
  const float scale = values.restore(block.scale);
  const float minimum_scale = values.restore(block.minimum_scale);
  for (std::size_t g = 0; g < groups; ++g) {
    const int nearest_scale = round_clamped(fits[g].scale * inverse_of(scale), 0, highest);
    const int nearest_minimum = round_clamped(fits[g].minimum * inverse_of(minimum_scale), 0, highest);
    float least = std::numeric_limits<float>::infinity();
    std::array<std::uint8_t, kSize> quants;
    for (int s = std::max(nearest_scale - 1, 0); s <= std::min(nearest_scale + 1, highest); ++s) {
      for (int m = std::max(nearest_minimum - 1, 0); m <= std::min(nearest_minimum + 1, highest); ++m) {
        const float error = round_group(values.group(g, kSize), weights[g], scale * static_cast<float>(s),
                                        minimum_scale * static_cast<float>(m), search.highest, quants.data());
        if (!(error < least)) continue;
        least = error;
        block.integers[g] = {static_cast<std::uint8_t>(s), static_cast<std::uint8_t>(m)};
        std::copy(quants.begin(), quants.end(), block.quants.begin() + static_cast<std::ptrdiff_t>(g * kSize));
      }
    }
  }
  return block;
}

// What a Q3_K or Q6_K block says: 16 groups, quants counted from the lowest level.
struct SymmetricBlock {
  std::uint16_t scale = 0;
  std::array<int, 16> integers{};
  std::array<std::uint8_t, kSuperBlock> quants{};
};

// As encode_affine, without minima. The group scale of largest magnitude becomes `lowest_integer`, whatever its sign.
SymmetricBlock encode_symmetric(const Values& values, int lowest_level, int lowest_integer) {
  constexpr std::size_t kSize = 16;
  SymmetricBlock block;
  std::array<float, 16> fits;
  float peak = 0.0F;
  for (std::size_t g = 0; g < fits.size(); ++g) {
    const auto group = values.group(g, kSize);
    fits[g] = fit_symmetric(group, weights_by_magnitude(group), lowest_level);
    if (std::fabs(fits[g]) > std::fabs(peak)) peak = fits[g];
  }
  block.scale = values.store(peak / static_cast<float>(lowest_integer));
  const float scale = values.restore(block.scale);
  for (std::size_t g = 0; g < fits.size(); ++g) {
    block.integers[g] = round_clamped(fits[g] * inverse_of(scale), lowest_integer, -lowest_integer - 1);
    const float inverse = inverse_of(scale * static_cast<float>(block.integers[g]));
    const auto group = values.group(g, kSize);
    for (std::size_t i = 0; i < kSize; ++i) {
      block.quants[g * kSize + i] =
          static_cast<std::uint8_t>(round_clamped(group[i] * inverse, lowest_level, -lowest_level - 1) - lowest_level);
    }
  }
  return block;
}

// Two bits of each value as Q2_K and Q3_K keep them.
void pack_low_pairs(const std::array<std::uint8_t, kSuperBlock>& quants, std::uint8_t (&bytes)[64]) {
  for (int i = 0; i < kSuperBlock; ++i) {
    bytes[i / 128 * 32 + i % 32] |= static_cast<std::uint8_t>((quants[i] & 3) << (i % 128 / 32 * 2));
  }
}

// Four bits of each value as Q4_K and Q5_K keep them.
void pack_low_nibbles(const std::array<std::uint8_t, kSuperBlock>& quants, std::uint8_t (&bytes)[128]) {
  for (int i = 0; i < kSuperBlock; ++i) {
    bytes[i / 64 * 32 + i % 32] |= static_cast<std::uint8_t>((quants[i] & 15) << (i % 64 / 32 * 4));
  }
}

// The one bit above them, as Q3_K and Q5_K keep it.
void pack_high_bits(const std::array<std::uint8_t, kSuperBlock>& quants, int bit, std::uint8_t (&bytes)[32]) {
  for (int i = 0; i < kSuperBlock; ++i) {
    bytes[i % 32] |= static_cast<std::uint8_t>(((quants[i] >> bit) & 1) << (i / 32));
  }
}

}  // namespace

void decode_block(const Block<TensorType::Q2_K>& block, float* values) {
  const float scale = half_to_float(block.scale);
  const float minimum_scale = half_to_float(block.minimum_scale);
  for (int group = 0; group < 16; ++group) {
    const float group_scale = scale * static_cast<float>(block.groups[group] & 15U);
    const float minimum = minimum_scale * static_cast<float>(block.groups[group] >> 4U);
    const std::uint8_t* bytes = block.quants + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) {
      values[group * 16 + i] = group_scale * static_cast<float>((bytes[i] >> shift) & 3) - minimum;
    }
  }
}

void decode_block(const Block<TensorType::Q3_K>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int group = 0; group < 16; ++group) {
    const float group_scale = scale * static_cast<float>(q3_scale(block.groups, group) - 32);
    const std::uint8_t* bytes = block.quants + group / 8 * 32 + group % 2 * 16;
    const std::uint8_t* high = block.high + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) {
      const int quant = ((bytes[i] >> shift) & 3) | ((high[i] >> (group / 2)) & 1) << 2;
      values[group * 16 + i] = group_scale * static_cast<float>(quant - 4);
    }
  }
}

namespace {

// Q4_K and Q5_K: `high(group, i)` is the fifth bit of value i of a group.
template <class AnyBlock, class High>
void decode_with_minima(const AnyBlock& block, float* values, High high) {
  const float scale = half_to_float(block.scale);
  const float minimum_scale = half_to_float(block.minimum_scale);
  for (int group = 0; group < 8; ++group) {
    const GroupScale integers = group_scale(block.groups, group);
    const float group_scale = scale * static_cast<float>(integers.scale);
    const float minimum = minimum_scale * static_cast<float>(integers.minimum);
    const std::uint8_t* bytes = block.nibbles + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int quant = ((bytes[i] >> shift) & 15) | high(group, i) << 4;
      values[group * 32 + i] = group_scale * static_cast<float>(quant) - minimum;
    }
  }
}

}  // namespace

void decode_block(const Block<TensorType::Q4_K>& block, float* values) {
  decode_with_minima(block, values, [](int, int) { return 0; });
}

void decode_block(const Block<TensorType::Q5_K>& block, float* values) {
  decode_with_minima(block, values, [&](int group, int i) { return (block.high[i] >> group) & 1; });
}

void decode_block(const Block<TensorType::Q6_K>& block, float* values) {
  const float scale = half_to_float(block.scale);
  for (int group = 0; group < 16; ++group) {
    const float group_scale = scale * static_cast<float>(block.groups[group]);
    const std::uint8_t* low = block.low + group / 8 * 64 + group % 4 * 16;
    const std::uint8_t* high = block.high + group / 8 * 32 + group % 2 * 16;
    const int low_shift = group % 8 / 4 * 4;
    const int high_shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) {
      const int quant = ((low[i] >> low_shift) & 15) | ((high[i] >> high_shift) & 3) << 4;
      values[group * 16 + i] = group_scale * static_cast<float>(quant - 32);
    }
  }
}

// The ranges of the searches are those of ggml's quantiser without an importance matrix.

void encode_block(const float* source, Block<TensorType::Q2_K>& block) {
  const Values values(source);
  block = {};
  if (values.empty()) return;
  const auto plain = encode_affine<16>(values, {.highest = 3, .steps = 15, .first = -0.5F, .step = 0.1F}, 15);
  block.scale = plain.scale;
  block.minimum_scale = plain.minimum_scale;
  for (int g = 0; g < 16; ++g) {
    block.groups[g] = static_cast<std::uint8_t>(plain.integers[g].scale | plain.integers[g].minimum << 4);
  }
  pack_low_pairs(plain.quants, block.quants);
}

void encode_block(const float* source, Block<TensorType::Q3_K>& block) {
  const Values values(source);
  block = {};
  if (values.empty()) return;
  const SymmetricBlock plain = encode_symmetric(values, -4, -32);
  block.scale = plain.scale;
  for (int g = 0; g < 16; ++g) set_q3_scale(block.groups, g, static_cast<unsigned>(plain.integers[g] + 32));
  pack_low_pairs(plain.quants, block.quants);
  pack_high_bits(plain.quants, 2, block.high);
}

void encode_block(const float* source, Block<TensorType::Q4_K>& block) {
  const Values values(source);
  block = {};
  if (values.empty()) return;
  const auto plain = encode_affine<8>(values, {.highest = 15, .steps = 20, .first = -1.0F, .step = 0.1F}, 63);
  block.scale = plain.scale;
  block.minimum_scale = plain.minimum_scale;
  for (int g = 0; g < 8; ++g) set_group_scale(block.groups, g, plain.integers[g]);
  pack_low_nibbles(plain.quants, block.nibbles);
}

void encode_block(const float* source, Block<TensorType::Q5_K>& block) {
  const Values values(source);
  block = {};
  if (values.empty()) return;
  const auto plain = encode_affine<8>(values, {.highest = 31, .steps = 15, .first = -0.5F, .step = 0.1F}, 63);
  block.scale = plain.scale;
  block.minimum_scale = plain.minimum_scale;
  for (int g = 0; g < 8; ++g) set_group_scale(block.groups, g, plain.integers[g]);
  pack_low_nibbles(plain.quants, block.nibbles);
  pack_high_bits(plain.quants, 4, block.high);
}

void encode_block(const float* source, Block<TensorType::Q6_K>& block) {
  const Values values(source);
  block = {};
  if (values.empty()) return;
  const SymmetricBlock plain = encode_symmetric(values, -32, -128);
  block.scale = plain.scale;
  for (int g = 0; g < 16; ++g) block.groups[g] = static_cast<std::int8_t>(plain.integers[g]);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int j = i % 128;
    block.low[i / 128 * 64 + j % 64] |= static_cast<std::uint8_t>((plain.quants[i] & 15) << (j / 64 * 4));
    block.high[i / 128 * 32 + j % 32] |= static_cast<std::uint8_t>(plain.quants[i] >> 4 << (j / 32 * 2));
  }
}

}  // namespace loadline::quant
