// The bytes of one block of every format, and the pieces of arithmetic that decoding and encoding share.
// It owns the layout; it neither reads tensors nor chooses formats (see format.h). Byte order is little endian.
//
// Layouts: the block structures of ggml-common.h. Half-precision fields are kept as bit patterns (base/half.h).
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "quant/format.h"

namespace loadline::quant {

constexpr int kSuperBlock = 256;  // values in a block of the K formats and of most IQ ones

template <TensorType>
struct Block;

// Nibble order of the 32-value formats: byte i holds value i in its low half and value i + 16 in its high half.
// The same order in both halves is meant wherever a member is called `nibbles`.

template <>
struct Block<TensorType::F32> {
  float value;
};
template <>
struct Block<TensorType::F16> {
  std::uint16_t value;
};
template <>
struct Block<TensorType::BF16> {
  std::uint16_t value;
};

// value = scale * (q - 8)
template <>
struct Block<TensorType::Q4_0> {
  std::uint16_t scale;
  std::uint8_t nibbles[16];
};

// value = scale * q + minimum
template <>
struct Block<TensorType::Q4_1> {
  std::uint16_t scale;
  std::uint16_t minimum;
  std::uint8_t nibbles[16];
};

// value = scale * (q - 16); bit i of `high`, read as one little-endian number, is the fifth bit of value i.
template <>
struct Block<TensorType::Q5_0> {
  std::uint16_t scale;
  std::uint8_t high[4];
  std::uint8_t nibbles[16];
};

// value = scale * q + minimum
template <>
struct Block<TensorType::Q5_1> {
  std::uint16_t scale;
  std::uint16_t minimum;
  std::uint8_t high[4];
  std::uint8_t nibbles[16];
};

// value = scale * q
template <>
struct Block<TensorType::Q8_0> {
  std::uint16_t scale;
  std::int8_t values[32];
};

// 16 groups of 16. value = (scale * s) * q - (minimum_scale * m); s the low and m the high half of the group's byte.
// Two bits a value: byte 32 h + i holds values 128 h + i, + 32, + 64, + 96, from the low bits up.
template <>
struct Block<TensorType::Q2_K> {
  std::uint8_t groups[16];
  std::uint8_t quants[64];
  std::uint16_t scale;
  std::uint16_t minimum_scale;
};

// 16 groups of 16. value = (scale * (s - 32)) * (q - 4). Low two bits of q as in Q2_K; the third is bit 4 h + j of
// high[i] for value 128 h + 32 j + i. Six-bit s: see q3_scale.
template <>
struct Block<TensorType::Q3_K> {
  std::uint8_t high[32];
  std::uint8_t quants[64];
  std::uint8_t groups[12];
  std::uint16_t scale;
};

// 8 groups of 32. value = (scale * s) * q - (minimum_scale * m). Byte 32 c + i holds value 64 c + i in its low half and
// value 64 c + 32 + i in its high half. Six-bit s and m: see group_scales.
template <>
struct Block<TensorType::Q4_K> {
  std::uint16_t scale;
  std::uint16_t minimum_scale;
  std::uint8_t groups[12];
  std::uint8_t nibbles[128];
};

// As Q4_K with a fifth bit: bit g of high[i] belongs to value 32 g + i.
template <>
struct Block<TensorType::Q5_K> {
  std::uint16_t scale;
  std::uint16_t minimum_scale;
  std::uint8_t groups[12];
  std::uint8_t high[32];
  std::uint8_t nibbles[128];
};

// 16 groups of 16. value = (scale * s) * (q - 32). In each half h of the block, values j = 0..127: low four bits in
// byte 64 h + j % 64, the low half of it for j < 64; high two bits in byte 32 h + j % 32 of `high`, at bit 2 (j / 32).
template <>
struct Block<TensorType::Q6_K> {
  std::uint8_t low[128];
  std::uint8_t high[64];
  std::int8_t groups[16];
  std::uint16_t scale;
};

// value = scale * kIq4Values[q]
template <>
struct Block<TensorType::IQ4_NL> {
  std::uint16_t scale;
  std::uint8_t nibbles[16];
};

// 8 groups of 32. value = (scale * (s - 32)) * kIq4Values[q]; the nibbles of group g start at 16 g. Low four bits of s
// in half g % 2 of groups_low[g / 2], high two at bit 2 g of groups_high.
template <>
struct Block<TensorType::IQ4_XS> {
  std::uint16_t scale;
  std::uint16_t groups_high;
  std::uint8_t groups_low[4];
  std::uint8_t nibbles[128];
};

// The IQ formats: 8 groups of 32 values, and in a group four times eight that one or two entries of a codebook
// (codebooks.h) and eight signs stand for. Groups are called b, the eights of a group l. Places: shared/formats.md's,
// and ggml-common.h's.

// value = (scale * (2 s + 1)) * (entry + delta); delta is -1/8 where the top bit of high[b] is set, else 1/8; s are the
// three bits below. Index: low[4 b + l], and three bits of high[b] from 3 l on.
template <>
struct Block<TensorType::IQ1_S> {
  std::uint16_t scale;
  std::uint8_t low[32];
  std::uint16_t high[8];
};

// The same with a half of high[2 b + l / 2] for each eight: three bits of the index, and above them the sign of delta.
// s are three bits of groups[b / 2] for each 16 values. The four top bits of `groups` together are the scale, a half.
template <>
struct Block<TensorType::IQ1_M> {
  std::uint8_t low[32];
  std::uint8_t high[16];
  std::uint16_t groups[4];
};

// value = scale * (0.5 + s) * 0.25 * entry, times its sign. Four index bytes for each group; then a word that has 7
// bits of signs for each eight, and s at the top.
template <>
struct Block<TensorType::IQ2_XXS> {
  std::uint16_t scale;
  struct {
    std::uint8_t index[4];
    std::uint8_t signs[4];
  } groups[8];
};

// For each eight 9 bits of index and 7 of signs; s is a half byte for each 16 values.
template <>
struct Block<TensorType::IQ2_XS> {
  std::uint16_t scale;
  std::uint16_t eights[32];
  std::uint8_t groups[8];
};

// Index: low[4 b + l], and two bits of high[b] from 2 l on. All eight signs.
template <>
struct Block<TensorType::IQ2_S> {
  std::uint16_t scale;
  std::uint8_t low[32];
  std::uint8_t signs[32];
  std::uint8_t high[8];
  std::uint8_t groups[8];
};

// value = scale * (0.5 + s) * 0.5 * entry, times its sign; an entry has four values. Words as in IQ2_XXS.
template <>
struct Block<TensorType::IQ3_XXS> {
  std::uint16_t scale;
  std::uint8_t index[64];
  std::uint8_t signs[32];
};

// value = scale * (2 s + 1) * entry, times its sign. Index: low[8 b + k], and bit k of high[b].
template <>
struct Block<TensorType::IQ3_S> {
  std::uint16_t scale;
  std::uint8_t low[64];
  std::uint8_t high[8];
  std::uint8_t signs[32];
  std::uint8_t groups[4];
};

// value = kFp4Values[q] * 2^(scale - 128)
template <>
struct Block<TensorType::MXFP4> {
  std::uint8_t scale;
  std::uint8_t nibbles[16];
};

// Four times 16 values; byte 8 t + j has value 16 t + j in its low half and value 16 t + 8 + j in its high half.
// value = ue4m3_half(scales[t]) * kFp4Values[q]
template <>
struct Block<TensorType::NVFP4> {
  std::uint8_t scales[4];
  std::uint8_t halves[32];
};

// value = scale * (digit - 1). A byte has five digits of base 3 (of `rest`: four) as a fraction: see ternary_digit.
template <>
struct Block<TensorType::TQ1_0> {
  std::uint8_t digits[48];
  std::uint8_t rest[4];
  std::uint16_t scale;
};

// value = scale * (q - 1). Two bits a value as in Q2_K.
template <>
struct Block<TensorType::TQ2_0> {
  std::uint8_t quants[64];
  std::uint16_t scale;
};

// value = scale where the value's bit is set, else -scale
template <>
struct Block<TensorType::Q1_0> {
  std::uint16_t scale;
  std::uint8_t bits[16];
};

// value = scale * (q - 1), two bits a value in order
template <>
struct Block<TensorType::Q2_0> {
  std::uint16_t scale;
  std::uint8_t quants[16];
};

#define LOADLINE_FORMAT(name, id, elements, bytes) static_assert(sizeof(Block<TensorType::name>) == (bytes));
#include "quant/formats.inc"
#undef LOADLINE_FORMAT

// The sixteen levels of IQ4_NL and IQ4_XS (ggml-common.h, kvalues_iq4nl).
inline constexpr std::array<std::int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                           1,    13,   25,  38,  53,  69,  89,  113};

// Twice what four bits of a floating point number with two of exponent and one of mantissa are (MXFP4, NVFP4).
inline constexpr std::array<std::int8_t, 16> kFp4Values = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Half of an unsigned float with four bits of exponent and three of mantissa; the number that would not be one is 0.
// The eighth bit does not count.
inline float ue4m3_half(std::uint8_t bits) {
  const unsigned exponent = bits >> 3U & 15U;
  const auto mantissa = static_cast<float>(bits & 7U);
  if ((bits & 0x7FU) == 0x7FU) return 0.0F;
  if (exponent == 0) return mantissa * 0x1p-10F;
  return (1.0F + mantissa / 8.0F) * std::ldexp(1.0F, static_cast<int>(exponent) - 8);
}

// 2^(scale - 128)
inline float e8m0_half(std::uint8_t scale) { return std::ldexp(1.0F, int{scale} - 128); }

// Digit n of a byte of TQ1_0.
inline unsigned ternary_digit(std::uint8_t byte, int n) {
  constexpr std::array<unsigned, 5> kPowers = {1, 3, 9, 27, 81};
  return (byte * kPowers[static_cast<std::size_t>(n)] % 256U * 3U) >> 8U;
}

// Whether a format is written too. The others choose from a codebook, which does badly without knowing what the
// columns matter (an importance matrix).
template <TensorType type>
constexpr bool kEncodes = true;
template <>
inline constexpr bool kEncodes<TensorType::IQ1_S> = false;
template <>
inline constexpr bool kEncodes<TensorType::IQ1_M> = false;
template <>
inline constexpr bool kEncodes<TensorType::IQ2_XXS> = false;
template <>
inline constexpr bool kEncodes<TensorType::IQ2_XS> = false;
template <>
inline constexpr bool kEncodes<TensorType::IQ2_S> = false;
template <>
inline constexpr bool kEncodes<TensorType::IQ3_XXS> = false;

// Scale and minimum of one group of Q4_K or Q5_K, 0..63.
struct GroupScale {
  std::uint8_t scale;
  std::uint8_t minimum;
};

// The packing: bytes 0-3 and 4-7 hold scales and minima of groups 0-3 in their low six bits; bytes 8-11 the low halves
// of scale and minimum of groups 4-7, whose upper two bits are the top bits of bytes 0-3 and 4-7.
inline GroupScale group_scale(const std::uint8_t (&packed)[12], int group) {
  const int i = group & 3;
  if (group < 4) {
    return {static_cast<std::uint8_t>(packed[i] & 63U), static_cast<std::uint8_t>(packed[4 + i] & 63U)};
  }
  return {static_cast<std::uint8_t>((packed[8 + i] & 15U) | (packed[i] >> 6U << 4U)),
          static_cast<std::uint8_t>((packed[8 + i] >> 4U) | (packed[4 + i] >> 6U << 4U))};
}

inline void set_group_scale(std::uint8_t (&packed)[12], int group, GroupScale value) {
  const int i = group & 3;
  if (group < 4) {
    packed[i] = static_cast<std::uint8_t>((packed[i] & 0xC0U) | value.scale);
    packed[4 + i] = static_cast<std::uint8_t>((packed[4 + i] & 0xC0U) | value.minimum);
    return;
  }
  packed[8 + i] = static_cast<std::uint8_t>((value.scale & 15U) | (value.minimum & 15U) << 4U);
  packed[i] = static_cast<std::uint8_t>((packed[i] & 63U) | (value.scale >> 4U << 6U));
  packed[4 + i] = static_cast<std::uint8_t>((packed[4 + i] & 63U) | (value.minimum >> 4U << 6U));
}

// Scale of group 0..15 of Q3_K, 0..63 (32 stands for zero). Low half of the byte for groups 0-7, high half for 8-15;
// the upper two bits come four groups to a byte from the last four bytes.
inline std::uint8_t q3_scale(const std::uint8_t (&packed)[12], int group) {
  const unsigned low = group < 8 ? packed[group] & 15U : packed[group - 8] >> 4U;
  const unsigned high = (packed[8 + group % 4] >> (2 * (group / 4))) & 3U;
  return static_cast<std::uint8_t>(low | high << 4U);
}

// `packed` must be zero where this group has not been set.
inline void set_q3_scale(std::uint8_t (&packed)[12], int group, unsigned scale) {
  packed[group % 8] |= static_cast<std::uint8_t>((scale & 15U) << (group < 8 ? 0 : 4));
  packed[8 + group % 4] |= static_cast<std::uint8_t>((scale >> 4U) << (2 * (group / 4)));
}

// One block to its floats and, where kEncodes says so, back; one definition per format, below or in blocks_*.cpp.
// Decoding performs the float operations in the order the comments above give, so that every bit of the result is
// determined. Encoding wants finite values.
#define LOADLINE_FORMAT(name, id, elements, bytes)                        \
  void decode_block(const Block<TensorType::name>& block, float* values); \
  void encode_block(const float* values, Block<TensorType::name>& block);
#include "quant/formats.inc"
#undef LOADLINE_FORMAT

inline void decode_block(const Block<TensorType::F32>& block, float* values) { *values = block.value; }
inline void decode_block(const Block<TensorType::F16>& block, float* values) { *values = half_to_float(block.value); }
inline void decode_block(const Block<TensorType::BF16>& block, float* values) {
  *values = bfloat16_to_float(block.value);
}
inline void encode_block(const float* values, Block<TensorType::F32>& block) { block.value = *values; }
inline void encode_block(const float* values, Block<TensorType::F16>& block) { block.value = float_to_half(*values); }
inline void encode_block(const float* values, Block<TensorType::BF16>& block) {
  block.value = float_to_bfloat16(*values);
}

// Blocks lie anywhere in a file: they are copied out of bytes, never pointed at.
template <TensorType type>
Block<type> load_block(const std::byte* source) {
  Block<type> block;
  std::memcpy(&block, source, sizeof block);
  return block;
}

}  // namespace loadline::quant
