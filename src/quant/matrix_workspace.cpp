#include "quant/matrix_workspace.h"

#include <algorithm>

namespace loadline::quant {

Bytes matrix_workspace(std::uint64_t tokens) {
  constexpr std::uint64_t kPair = 32;  // tokens that are multiplied at once
  constexpr std::uint64_t kTile = std::uint64_t{16} * 256;
  const std::uint64_t sums = align_up(std::min<std::uint64_t>(tokens, kMatrixBlock), kPair) * kMatrixRows;
  return Bytes(sums * sizeof(float) + 2 * 2 * kTile * 2 + kTile * sizeof(float));
}

}  // namespace loadline::quant
