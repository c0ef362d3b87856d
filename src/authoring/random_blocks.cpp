#include "authoring/random_blocks.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "quant/blocks.h"
#include "quant/codebooks.h"

namespace loadline::authoring {
namespace {

using quant::Block;
using quant::TensorType;

// The standard deviation of the integers 0 .. count - 1, all equally likely.
double spread_of(double count) { return std::sqrt((count * count - 1) / 12); }

// The root mean square of the integers 2^bits .. 2^(bits + 1) - 1: group scales with random bits under a leading one.
double leading_one_rms(int bits) {
  const double low = std::ldexp(1.0, bits);
  double squares = 0;
  for (double value = low; value < 2 * low; ++value) squares += value * value;
  return std::sqrt(squares / low);
}

double iq4_rms() {
  double squares = 0;
  for (const int value : quant::kIq4Values) squares += value * value;
  return std::sqrt(squares / quant::kIq4Values.size());
}

// The spread that random bytes have under a block scale of 1, per format.
const double kSpread2 = spread_of(4) * leading_one_rms(3);
const double kSpread3 = spread_of(8) * spread_of(64);
const double kSpread4 = spread_of(16);
const double kSpread4K = spread_of(16) * leading_one_rms(5);
const double kSpread5 = spread_of(32);
const double kSpread5K = spread_of(32) * leading_one_rms(5);
const double kSpread6 = spread_of(64) * spread_of(256);
const double kSpread8 = spread_of(256);
const double kSpreadIq4 = iq4_rms();
const double kSpreadIq4Xs = iq4_rms() * spread_of(64);

// Of s = 0 .. count - 1, all equally likely, the root mean square of 2 s + 1.
double odd_rms(int count) {
  double squares = 0;
  for (int s = 0; s < count; ++s) squares += (2.0 * s + 1) * (2.0 * s + 1);
  return std::sqrt(squares / count);
}

// Of a codebook's values: bytes less `offset`, plus `delta`.
template <class Grid>
double grid_rms(const Grid& grid, double offset = 0, double delta = 0) {
  double squares = 0;
  int count = 0;
  for (const auto entry : grid) {
    for (std::size_t j = 0; j < sizeof entry; ++j, ++count) {
      const double value = quant::grid_value(entry, static_cast<int>(j)) - offset;
      squares += value * value + delta * delta;  // delta is as often added as subtracted
    }
  }
  return std::sqrt(squares / count);
}

double fp4_rms() {
  double squares = 0;
  for (const int value : quant::kFp4Values) squares += value * value;
  return std::sqrt(squares / quant::kFp4Values.size());
}

const double kSpreadIq1S = grid_rms(quant::kIq1Grid, 1, 0.125) * odd_rms(8);
const double kSpreadIq2Xxs = grid_rms(quant::kIq2XxsGrid) * odd_rms(16) / 8;
const double kSpreadIq2Xs = grid_rms(quant::kIq2XsGrid) * odd_rms(16) / 8;
const double kSpreadIq2S = grid_rms(quant::kIq2SGrid) * odd_rms(16) / 8;
const double kSpreadIq3Xxs = grid_rms(quant::kIq3XxsGrid) * odd_rms(16) / 4;
const double kSpreadIq3S = grid_rms(quant::kIq3SGrid) * odd_rms(16);
const double kSpreadFp4 = fp4_rms();
const double kSpreadTernary = std::sqrt(2.0 / 3);
const double kSpreadOfTwoBits = std::sqrt(0.5);  // -1, 0, 0 and 1

std::uint16_t half(double value) { return float_to_half(static_cast<float>(value)); }

// A multiple of a stored scale: puts the minimum at the middle of the levels also where the scale was rounded.
std::uint16_t multiple(std::uint16_t scale, double factor) { return half(half_to_float(scale) * factor); }

double with_sign(double magnitude, std::uint64_t word) { return (word & 1) != 0 ? -magnitude : magnitude; }

// One overload a format: `block` holds random bytes, `word` is fresh; sets what must not be random. The formats without
// a minimum have one level more below zero than above; scales of random sign keep their mean at zero.
void settle(Block<TensorType::F32>& block, float deviation, std::uint64_t word) {
  // Even over [-1, 1), whose deviation is 1 / sqrt(3).
  const auto even = static_cast<float>(static_cast<std::int64_t>(word) * 0x1p-63);
  block.value = even * deviation * 1.7320508F;
}
void settle(Block<TensorType::F16>& block, float deviation, std::uint64_t word) {
  Block<TensorType::F32> value{};
  settle(value, deviation, word);
  block.value = float_to_half(value.value);
}
void settle(Block<TensorType::BF16>& block, float deviation, std::uint64_t word) {
  Block<TensorType::F32> value{};
  settle(value, deviation, word);
  block.value = float_to_bfloat16(value.value);
}
void settle(Block<TensorType::Q4_0>& block, float deviation, std::uint64_t word) {
  block.scale = half(with_sign(deviation / kSpread4, word));
}
void settle(Block<TensorType::Q4_1>& block, float deviation, std::uint64_t /*word*/) {
  block.scale = half(deviation / kSpread4);
  block.minimum = multiple(block.scale, -7.5);
}
void settle(Block<TensorType::Q5_0>& block, float deviation, std::uint64_t word) {
  block.scale = half(with_sign(deviation / kSpread5, word));
}
void settle(Block<TensorType::Q5_1>& block, float deviation, std::uint64_t /*word*/) {
  block.scale = half(deviation / kSpread5);
  block.minimum = multiple(block.scale, -15.5);
}
void settle(Block<TensorType::Q8_0>& block, float deviation, std::uint64_t word) {
  block.scale = half(with_sign(deviation / kSpread8, word));
}
void settle(Block<TensorType::Q2_K>& block, float deviation, std::uint64_t word) {
  for (int g = 0; g < 16; ++g) {
    const auto scale = static_cast<std::uint8_t>(8U | (word >> (3 * g) & 7U));
    block.groups[g] = static_cast<std::uint8_t>(scale | scale << 4);
  }
  block.scale = half(deviation / kSpread2);
  block.minimum_scale = multiple(block.scale, 1.5);
}
void settle(Block<TensorType::Q3_K>& block, float deviation, std::uint64_t /*word*/) {
  // Random bytes are group scales from -32 to 31, of either sign.
  block.scale = half(deviation / kSpread3);
}
template <class B>
void settle_k_scales(B& block, std::uint64_t word) {
  for (int g = 0; g < 8; ++g) {
    const auto scale = static_cast<std::uint8_t>(32U | (word >> (5 * g) & 31U));
    quant::set_group_scale(block.groups, g, {scale, scale});
  }
}
void settle(Block<TensorType::Q4_K>& block, float deviation, std::uint64_t word) {
  settle_k_scales(block, word);
  block.scale = half(deviation / kSpread4K);
  block.minimum_scale = multiple(block.scale, 7.5);
}
void settle(Block<TensorType::Q5_K>& block, float deviation, std::uint64_t word) {
  settle_k_scales(block, word);
  block.scale = half(deviation / kSpread5K);
  block.minimum_scale = multiple(block.scale, 15.5);
}
void settle(Block<TensorType::Q6_K>& block, float deviation, std::uint64_t /*word*/) {
  // Random bytes are group scales from -128 to 127, of either sign.
  block.scale = half(deviation / kSpread6);
}
void settle(Block<TensorType::IQ4_NL>& block, float deviation, std::uint64_t word) {
  block.scale = half(with_sign(deviation / kSpreadIq4, word));
}
void settle(Block<TensorType::IQ4_XS>& block, float deviation, std::uint64_t /*word*/) {
  block.scale = half(deviation / kSpreadIq4Xs);
}

void settle(Block<TensorType::IQ1_S>& block, float deviation, std::uint64_t word) {
  block.scale = half(with_sign(deviation / kSpreadIq1S, word));
}
void settle(Block<TensorType::IQ1_M>& block, float deviation, std::uint64_t word) {
  const unsigned scale = half(with_sign(deviation / kSpreadIq1S, word));
  for (int i = 0; i < 4; ++i) {
    block.groups[i] = static_cast<std::uint16_t>((block.groups[i] & 0x0FFFU) | (scale >> (4 * i) & 15U) << 12U);
  }
}
void settle(Block<TensorType::IQ2_XXS>& block, float deviation, std::uint64_t /*word*/) {
  block.scale = half(deviation / kSpreadIq2Xxs);
}
void settle(Block<TensorType::IQ2_XS>& block, float deviation, std::uint64_t /*word*/) {
  block.scale = half(deviation / kSpreadIq2Xs);
}
void settle(Block<TensorType::IQ2_S>& block, float deviation, std::uint64_t /*word*/) {
  block.scale = half(deviation / kSpreadIq2S);
}
void settle(Block<TensorType::IQ3_XXS>& block, float deviation, std::uint64_t /*word*/) {
  block.scale = half(deviation / kSpreadIq3Xxs);
}
void settle(Block<TensorType::IQ3_S>& block, float deviation, std::uint64_t /*word*/) {
  block.scale = half(deviation / kSpreadIq3S);
}
// True as often as makes the mean of the squares of `low` and `high` that of `wanted`, by the lowest 16 bits.
bool takes_higher(double low, double high, double wanted, std::uint64_t word) {
  return static_cast<double>(word & 0xFFFFU) < 65536 * (wanted * wanted - low * low) / (high * high - low * low);
}
void settle(Block<TensorType::MXFP4>& block, float deviation, std::uint64_t word) {
  const double wanted = deviation / kSpreadFp4;
  const int exponent = std::ilogb(wanted);
  const bool higher = takes_higher(std::ldexp(1.0, exponent), std::ldexp(2.0, exponent), wanted, word);
  block.scale = static_cast<std::uint8_t>(std::clamp(exponent + 128 + (higher ? 1 : 0), 0, 254));
}
void settle(Block<TensorType::NVFP4>& block, float deviation, std::uint64_t word) {
  const double wanted = deviation / kSpreadFp4;
  int low = 0x7D;
  while (low > 0 && quant::ue4m3_half(static_cast<std::uint8_t>(low)) > wanted) --low;
  const double below = quant::ue4m3_half(static_cast<std::uint8_t>(low));
  const double above = quant::ue4m3_half(static_cast<std::uint8_t>(low + 1));
  for (int t = 0; t < 4; ++t) {
    const bool higher = takes_higher(below, above, wanted, word >> (16 * t));
    block.scales[t] = static_cast<std::uint8_t>(low + (higher ? 1 : 0));
  }
}
void settle(Block<TensorType::TQ1_0>& block, float deviation, std::uint64_t word) {
  block.scale = half(with_sign(deviation / kSpreadTernary, word));
}
// Two bits a value that are both set become the middle level: the mean is then zero.
template <std::size_t count>
void without_highest(std::uint8_t (&quants)[count]) {
  for (std::uint8_t& byte : quants) byte = static_cast<std::uint8_t>(byte & ~((byte & byte >> 1U & 0x55U) << 1U));
}
void settle(Block<TensorType::TQ2_0>& block, float deviation, std::uint64_t /*word*/) {
  without_highest(block.quants);
  block.scale = half(deviation / kSpreadOfTwoBits);
}
void settle(Block<TensorType::Q1_0>& block, float deviation, std::uint64_t /*word*/) { block.scale = half(deviation); }
void settle(Block<TensorType::Q2_0>& block, float deviation, std::uint64_t /*word*/) {
  without_highest(block.quants);
  block.scale = half(deviation / kSpreadOfTwoBits);
}

template <TensorType type>
void fill(float deviation, RandomWords& words, std::span<std::byte> target) {
  constexpr std::size_t kSize = sizeof(Block<type>);
  for (std::size_t at = 0; at < target.size(); at += kSize) {
    std::array<std::uint64_t, (kSize + 7) / 8> random;
    for (std::uint64_t& word : random) word = words.next();
    Block<type> block;
    std::memcpy(&block, random.data(), kSize);
    settle(block, deviation, kSize > 8 ? words.next() : random[0]);
    std::memcpy(target.data() + at, &block, kSize);
  }
}

}  // namespace

void fill_random_blocks(TensorType type, float deviation, RandomWords& words, std::span<std::byte> target) {
  assert(target.size() % quant::format_of(type).block_bytes == 0);
  switch (type) {
#define LOADLINE_FORMAT(name, id, elements, bytes) \
  case TensorType::name: fill<TensorType::name>(deviation, words, target); break;
#include "quant/formats.inc"
#undef LOADLINE_FORMAT
  }
}

}  // namespace loadline::authoring
