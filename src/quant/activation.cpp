#include "quant/activation.h"

namespace loadline::quant {

ActivationKind activation_kind(TensorType weights) {
  switch (weights) {
    case TensorType::F32:
    case TensorType::F16:
      return ActivationKind::Float32;
    case TensorType::BF16:
      return ActivationKind::BFloat16;
    default:
      return ActivationKind::Int8;
  }
}

Bytes activation_bytes(ActivationKind kind, std::uint64_t columns, std::uint64_t tokens) {
  std::uint64_t bytes = 0;
  switch (kind) {
    case ActivationKind::Int8: {
      const std::uint64_t blocks = (columns + kActivationBlock - 1) / kActivationBlock;
      bytes = blocks * align_up(tokens, kActivationTokens) * sizeof(Int8Block);
      break;
    }
    case ActivationKind::Float32:
      bytes = columns * tokens * sizeof(float);
      break;
    case ActivationKind::BFloat16:
      bytes = align_up(columns, 2) * tokens * sizeof(std::uint16_t);
      break;
  }
  return Bytes(align_up(bytes, 64));
}

}  // namespace loadline::quant
