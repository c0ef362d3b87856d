// IQ4_NL and IQ4_XS: four bits a value that choose one of sixteen unevenly spaced levels.
#include "base/error.h"
#include "quant/blocks.h"

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

void encode_block(const float*, Block<TensorType::IQ4_NL>&) {
  throw Error(ErrorCode::Internal, "encoding IQ4_NL arrives with the next commit");
}

void encode_block(const float*, Block<TensorType::IQ4_XS>&) {
  throw Error(ErrorCode::Internal, "encoding IQ4_XS arrives with the next commit");
}

}  // namespace loadline::quant
