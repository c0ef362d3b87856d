// How one head's part of a KV page lies (32 cells of head_dim values). Included by the kernels of every instruction
// set, hence internal linkage: each set compiles its own copy.
//
//   K, F32 and F16   [dimension][cell]: a dot product runs over cells in lanes
//   V, F32 and F16   [cell][dimension]: the weighted sum runs over dimensions in lanes
//   K, Q8_0          per 32 dimensions: half scales [cell], then bytes [dimension / 4][cell][4]
//   V, Q8_0          bytes [cell][dimension], then half scales [dimension / 32][cell]
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/kernels.h"

namespace loadline::cpu {
namespace {

constexpr std::size_t kCells = quant::kKvPageCells;
// Bytes of 32 dimensions of a Q8_0 part.
constexpr std::size_t kQ8Group = kCells * 34;

// Bytes of one head's part.
inline std::size_t part_bytes(TensorType type, std::size_t dim) {
  return kCells * (type == TensorType::F32 ? dim * 4 : type == TensorType::F16 ? dim * 2 : dim / 32 * 34);
}
inline std::byte* k_part(const KvLayer& kv, std::uint32_t page, std::uint32_t head) {
  return kv.k + (std::size_t{page} * kv.kv_heads + head) * part_bytes(kv.k_type, kv.head_dim_k);
}
inline std::byte* v_part(const KvLayer& kv, std::uint32_t page, std::uint32_t head) {
  return kv.v + (std::size_t{page} * kv.kv_heads + head) * part_bytes(kv.v_type, kv.head_dim_v);
}

// Index of a value in a part of floats or halves.
inline std::size_t k_index(std::size_t i, std::size_t cell) { return i * kCells + cell; }
inline std::size_t v_index(std::size_t dim, std::size_t i, std::size_t cell) { return cell * dim + i; }

// Byte offsets in a part of Q8_0.
inline std::size_t k_q8_scale(std::size_t i, std::size_t cell) { return i / 32 * kQ8Group + 2 * cell; }
inline std::size_t k_q8_value(std::size_t i, std::size_t cell) {
  return i / 32 * kQ8Group + 2 * kCells + (i % 32 / 4 * kCells + cell) * 4 + i % 4;
}
inline std::size_t v_q8_value(std::size_t dim, std::size_t i, std::size_t cell) { return cell * dim + i; }
inline std::size_t v_q8_scale(std::size_t dim, std::size_t i, std::size_t cell) {
  return kCells * dim + (i / 32 * kCells + cell) * 2;
}

}  // namespace
}  // namespace loadline::cpu
