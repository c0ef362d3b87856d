#include "quant/activation.h"

namespace loadline::quant {

ActivationKind activation_kind(TensorType weights) {
  switch (weights) {
    case TensorType::F32:
    case TensorType::F16:
    case TensorType::BF16: return ActivationKind::Float32;
    default: return ActivationKind::Int8;
  }
}

Bytes activation_bytes(ActivationKind kind, std::uint64_t columns, std::uint64_t tokens) {
  std::uint64_t bytes = 0;
  switch (kind) {
    case ActivationKind::Int8:
      bytes = tokens * (align_up(columns, kActivationBlock) / kActivationBlock) * sizeof(Int8Block);
      break;
    case ActivationKind::Float32: bytes = tokens * align_up(columns, 16) * sizeof(float); break;
  }
  return Bytes(align_up(bytes, 64));
}

}  // namespace loadline::quant
