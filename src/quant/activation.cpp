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

ActivationKind in_tiles(ActivationKind kind) {
  return kind == ActivationKind::Int8 ? ActivationKind::BfloatTiles : ActivationKind::SplitTiles;
}

Bytes activation_bytes(ActivationKind kind, std::uint64_t columns, std::uint64_t tokens) {
  std::uint64_t bytes = 0;
  switch (kind) {
    case ActivationKind::Int8:
      bytes = tokens * (align_up(columns, kActivationBlock) / kActivationBlock) * sizeof(Int8Block);
      break;
    case ActivationKind::Float32: bytes = tokens * align_up(columns, 16) * sizeof(float); break;
    case ActivationKind::BfloatTiles:
    case ActivationKind::SplitTiles:
      bytes = align_up(tokens, kActivationTokens) * align_up(columns, kActivationBlock) * 2;
      if (kind == ActivationKind::SplitTiles) bytes *= 2;
      break;
  }
  return Bytes(align_up(bytes, 64));
}

}  // namespace loadline::quant
