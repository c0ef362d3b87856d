// The operands of the matrix unit (AMX): weights and activations as bfloat16, in the order its tiles are loaded.
// Internal linkage; over the primitives `V` of AVX-512.
//
// A tile of the unit is 16 rows of 64 bytes. 256 values make eight of them on each side:
//   weights      value pair k / 2, row of the matrix, value k % 2: what the unit wants of its second operand
//   activations  step of 32 values, token of 16, value
// Values of 16 bits and more come in two parts, the bfloat16 and what it leaves over, so that products of parts add up
// to those of the values to about 2^-16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_floats.h"
#include "backend/cpu/products.h"

namespace loadline::cpu {
namespace {

constexpr std::size_t kUnitTile = 1024;               // bytes of a tile of the unit
constexpr std::size_t kSteps = 8;                     // of 32 values
constexpr std::size_t kOperand = kSteps * kUnitTile;  // 256 values of 16 rows or tokens
constexpr std::uint32_t kTileTokens = 16;

// A float whose upper half is it as a bfloat16: rounded half up in magnitude, which takes one addition. (Not the
// instruction for it: that one takes small numbers for zero.)
LOADLINE_INLINE I rounded(F x) { return V::add32(V::as_int(x), V::ints(0x8000)); }

// The upper halves of the lanes of two vectors, one of each in turn.
LOADLINE_INLINE I upper_halves_in_turn(I even, I odd) {
  return _mm512_mask_blend_epi16(0xAAAAAAAA, V::shr32<16>(even), odd);
}
// Those of the first vector, then those of the second.
LOADLINE_INLINE I upper_halves_apart(I first, I second) {
  alignas(64) static constexpr std::uint16_t kUpper[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                           23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                           45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  return _mm512_permutex2var_epi16(first, V::load(kUpper), second);
}

// A float as a bfloat16 that is a float too, and what is left.
struct Split {
  explicit LOADLINE_INLINE Split(F x)
      : high(V::and_(rounded(x), V::ints(-0x10000))), low(rounded(V::sub(x, V::as_float(high)))) {}
  I high, low;
};

// 16 of the first `count` floats of x, from k on; zeros beyond.
LOADLINE_INLINE F load_before(const float* x, std::uint64_t k, std::uint64_t count) {
  if (k + 16 <= count) return V::load_f(x + k);
  return _mm512_maskz_loadu_ps(k < count ? (1U << (count - k)) - 1 : 0, x + k);
}

// ---- Weights ----

// What is added to a group's weights, after scaling, besides what a bias subtracts.
template <class Format, int g>
LOADLINE_INLINE F minimum_of(const typename Format::Header& header, const std::byte* p) {
  if constexpr (Format::kMins == Mins::Float) return Format::template minimum<g>(p);
  if constexpr (Format::kMins == Mins::None) return V::zero_f();
  if constexpr (Format::kMins == Mins::Pairs32 || Format::kMins == Mins::Pairs16) {
    return V::mul(V::to_float(byte_of<g % 4>(header.min(g / 4))), header.negative_dmin);
  }
}

// Byte j of every lane, b, as the float 1 + b / 256: the byte goes to the top of the mantissa.
template <int j>
LOADLINE_INLINE F one_and_256th(I bytes) {
  I shifted;
  if constexpr (j < 2) shifted = V::shl32<15 - 8 * j>(bytes);
  if constexpr (j >= 2) shifted = V::shr32<8 * j - 15>(bytes);
  // (shifted & mask) | one
  return V::as_float(_mm512_ternarylogic_epi32(shifted, V::ints(0x007F8000), V::ints(0x3F800000), 0xEA));
}

// 256 values of a quantised tile as an operand.
template <class Format>
void weights_operand(const std::byte* p, std::byte* out) {
  const typename Format::Header header(p);
  constexpr int kGroups = Format::kSegmentGroups;
  constexpr float kBias = Format::kSigned ? V::kSignedOffset : Format::kBias;
  unrolled<Format::kSegments>(LOADLINE_EACH(s) {
    F scales[kGroups];   // of b / 256
    F offsets[kGroups];  // for the 1
    unrolled<kGroups>(LOADLINE_EACH(i) {
      constexpr int kIndex = Format::template group_of<s>(i);
      const F scale = float_scale<Format, kIndex>(header, p);
      scales[i] = V::mul(scale, V::set(256.0F));
      offsets[i] = V::fma(scale, V::set(-256.0F - kBias), minimum_of<Format, kIndex>(header, p));
    });
    each_of_segment<Format, s>(p, [&](auto i, auto offset, I weights) __attribute__((always_inline)) {
      const auto value = [&](auto j) __attribute__((always_inline)) {
        return rounded(V::fma(one_and_256th<j>(weights), scales[i], offsets[i]));
      };
      V::store(out + 32 * offset, upper_halves_in_turn(value(Const<0>{}), value(Const<1>{})));
      V::store(out + 32 * offset + 64, upper_halves_in_turn(value(Const<2>{}), value(Const<3>{})));
    });
  });
}

// The same of a tile of floats: the values' upper parts, then the lower ones.
template <class Format>
void split_weights_operand(const std::byte* p, std::byte* out) {
  for (std::size_t k = 0; k < 256; k += 2) {
    const Split even(Format::weights(p, k));
    const Split odd(Format::weights(p, k + 1));
    V::store(out + 32 * k, upper_halves_in_turn(even.high, odd.high));
    V::store(out + kOperand + 32 * k, upper_halves_in_turn(even.low, odd.low));
  }
}

template <class Format>
constexpr Operands kInt8Operands = {weights_operand<Format>, kRows* Format::kBytes, 1, 1};
template <class Format>
constexpr Operands kFloatOperands = {split_weights_operand<Format>, kRows* Format::kBytes, 2, 2};
template <>
constexpr Operands kFloatOperands<BF16> = {nullptr, kRows* BF16::kBytes, 1, 2};

// ---- Activations ----

// Tokens [begin, end) of x[tokens][columns] as BfloatTiles or SplitTiles, see quant/activation.h.
template <int parts>
void activation_tiles(const float* x, std::uint64_t stride, std::uint64_t columns, std::uint32_t begin,
                      std::uint32_t end, std::uint32_t tokens, std::byte* out) {
  const std::size_t groups = (tokens + kTileTokens - 1) / kTileTokens;
  for (std::uint32_t t = begin; t < end; ++t) {
    const float* row = x + t * stride;
    for (std::uint64_t k = 0; k < (columns + 255) / 256 * 256; k += 32) {
      std::byte* target = out + (k / 256 * groups + t / kTileTokens) * parts * kOperand + k % 256 / 32 * kUnitTile +
                          t % kTileTokens * std::size_t{64};
      const F low = load_before(row, k, columns);
      const F high = load_before(row, k + 16, columns);
      if constexpr (parts == 1) {
        V::store(target, upper_halves_apart(rounded(low), rounded(high)));
      } else {
        const Split lows(low);
        const Split highs(high);
        V::store(target, upper_halves_apart(lows.high, highs.high));
        V::store(target + kOperand, upper_halves_apart(lows.low, highs.low));
      }
    }
  }
}

}  // namespace
}  // namespace loadline::cpu
