// Q2_K to Q6_K: 256 values in groups of 16 or 32, whose scales are themselves quantised.
#include "base/error.h"
#include "quant/blocks.h"

namespace loadline::quant {

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

void decode_block(const Block<TensorType::Q4_K>& block, float* values) {
  const float scale = half_to_float(block.scale);
  const float minimum_scale = half_to_float(block.minimum_scale);
  for (int group = 0; group < 8; ++group) {
    const GroupScale integers = group_scale(block.groups, group);
    const float group_scale = scale * static_cast<float>(integers.scale);
    const float minimum = minimum_scale * static_cast<float>(integers.minimum);
    const std::uint8_t* bytes = block.nibbles + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      values[group * 32 + i] = group_scale * static_cast<float>((bytes[i] >> shift) & 15) - minimum;
    }
  }
}

void decode_block(const Block<TensorType::Q5_K>& block, float* values) {
  const float scale = half_to_float(block.scale);
  const float minimum_scale = half_to_float(block.minimum_scale);
  for (int group = 0; group < 8; ++group) {
    const GroupScale integers = group_scale(block.groups, group);
    const float group_scale = scale * static_cast<float>(integers.scale);
    const float minimum = minimum_scale * static_cast<float>(integers.minimum);
    const std::uint8_t* bytes = block.nibbles + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int quant = ((bytes[i] >> shift) & 15) | ((block.high[i] >> group) & 1) << 4;
      values[group * 32 + i] = group_scale * static_cast<float>(quant) - minimum;
    }
  }
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

void encode_block(const float*, Block<TensorType::Q2_K>&) {
  throw Error(ErrorCode::Internal, "encoding Q2_K arrives with the next commit");
}

void encode_block(const float*, Block<TensorType::Q3_K>&) {
  throw Error(ErrorCode::Internal, "encoding Q3_K arrives with the next commit");
}

void encode_block(const float*, Block<TensorType::Q4_K>&) {
  throw Error(ErrorCode::Internal, "encoding Q4_K arrives with the next commit");
}

void encode_block(const float*, Block<TensorType::Q5_K>&) {
  throw Error(ErrorCode::Internal, "encoding Q5_K arrives with the next commit");
}

void encode_block(const float*, Block<TensorType::Q6_K>&) {
  throw Error(ErrorCode::Internal, "encoding Q6_K arrives with the next commit");
}

}  // namespace loadline::quant
