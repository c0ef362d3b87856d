// The bytes of one block of every format, and the pieces of arithmetic that decoding and encoding share.
// It owns the layout; it neither reads tensors nor chooses formats (see format.h). Byte order is little endian.
//
// Layouts: the block structures of ggml-common.h. Half-precision fields are kept as bit patterns (base/half.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "quant/format.h"

namespace loadline::quant {

constexpr int kSuperBlock = 256;  // values in a block of the K formats and of IQ4_XS

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

#define LOADLINE_FORMAT(name, id, elements, bytes) static_assert(sizeof(Block<TensorType::name>) == (bytes));
#include "quant/formats.inc"
#undef LOADLINE_FORMAT

// The sixteen levels of IQ4_NL and IQ4_XS (ggml-common.h, kvalues_iq4nl).
inline constexpr std::array<std::int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                           1,    13,   25,  38,  53,  69,  89,  113};

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

// One block to its floats and back; one definition per format, below or in blocks_*.cpp. Decoding performs the float
// operations in the order the comments above give, so that every bit of the result is determined. Encoding wants finite
// values.
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
