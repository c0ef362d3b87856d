// Where the sums of a product go, however they were made. Internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_math.h"
#include "backend/cpu/kernels.h"

namespace loadline::cpu {
namespace {

LOADLINE_INLINE bool stopped(const StopFlag* stop) { return stop != nullptr && stop->load(std::memory_order_relaxed); }

LOADLINE_INLINE std::uint32_t smaller(std::uint64_t a, std::uint32_t b) {
  return a < b ? static_cast<std::uint32_t>(a) : b;
}

// The first `rows` of 16 values.
LOADLINE_INLINE void store_rows(F value, std::uint32_t rows, float* out) {
  if (rows == kTileRows) return V::store_f(out, value);
  alignas(64) float values[kTileRows];
  V::store_f(values, value);
  for (std::uint32_t r = 0; r < rows; ++r) out[r] = values[r];
}

// One token's sums of a tile to their place.
LOADLINE_INLINE void finish(const MatmulTask& task, std::uint64_t row, std::uint32_t rows, std::uint32_t token,
                            const float* sums) {
  float* out = task.out + token * task.out_stride + row;
  if (rows == kTileRows) {
    F value = V::load_f(sums);
    if (task.bias != nullptr) value = V::add(value, V::load_f(task.bias + row));
    if (task.accumulate) value = V::add(value, V::load_f(out));
    if (task.gate) value = V::mul(silu(V::load_f(out)), value);
    V::store_f(out, value);
    return;
  }
  if (task.gate) {
    alignas(64) float gates[kTileRows] = {};
    for (std::uint32_t r = 0; r < rows; ++r) gates[r] = out[r];
    return store_rows(V::mul(silu(V::load_f(gates)), V::load_f(sums)), rows, out);
  }
  for (std::uint32_t r = 0; r < rows; ++r) {
    float value = sums[r];
    if (task.bias != nullptr) value += task.bias[row + r];
    if (task.accumulate) value += out[r];
    out[r] = value;
  }
}

LOADLINE_INLINE void finish_gated(const GatedTask& task, std::uint64_t row, std::uint32_t rows, std::uint32_t token,
                                  const float* gates, const float* ups) {
  float* out = task.out + token * task.out_stride + row;
  store_rows(V::mul(silu(V::load_f(gates)), V::load_f(ups)), rows, out);
}

}  // namespace
}  // namespace loadline::cpu
