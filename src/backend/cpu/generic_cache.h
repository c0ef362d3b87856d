// Writing a token's K and V into their cells, written once over the primitives of an instruction set. Internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backend/cpu/generic_activations.h"
#include "backend/cpu/kernel_sets.h"
#include "backend/cpu/kv_layout.h"

namespace loadline::cpu {
namespace {

// 32 values as Q8_0: a half, and bytes relative to what the half holds.
LOADLINE_INLINE std::uint16_t round_q8(const float* x, std::int8_t* values) {
  const std::int32_t bits = largest_bits(x, 32);
  float largest;
  std::memcpy(&largest, &bits, sizeof largest);
  if (bits >= 0x7F800000) largest = __builtin_nanf("");
  alignas(64) std::uint16_t scale[16];
  V::store_halves(scale, V::set(largest / 127.0F));
  const float held = V::half(scale[0]);
  const F inverse = V::set(held > 0 && held < __builtin_inff() ? 1.0F / held : 0.0F);
  for (int i = 0; i < 32; i += 16) {
    const F scaled = V::mul(V::load_f(x + i), inverse);
    V::store_chars(values + i, V::round_to_int(V::max(V::min(scaled, V::set(127.0F)), V::set(-127.0F))));
  }
  if (!(held > 0 && held < __builtin_inff())) std::memset(values, 0, 32);
  return scale[0];
}

LOADLINE_INLINE void store_q8(std::byte* part, bool transposed, std::size_t dim, std::size_t cell, const float* x) {
  for (std::size_t i = 0; i < dim; i += 32) {
    std::int8_t values[32];
    const std::uint16_t scale = round_q8(x + i, values);
    std::memcpy(part + (transposed ? k_q8_scale(i, cell) : v_q8_scale(dim, i, cell)), &scale, sizeof scale);
    if (transposed) {
      for (std::size_t j = 0; j < 32; j += 4) std::memcpy(part + k_q8_value(i + j, cell), values + j, 4);
    } else {
      std::memcpy(part + v_q8_value(dim, i, cell), values, 32);
    }
  }
}

// Up to 16 floats as halves; zeros after them.
struct Halves16 {
  LOADLINE_INLINE Halves16(const float* x, std::size_t count) {
    alignas(64) float values[16] = {};
    std::memcpy(values, x, count * sizeof(float));
    V::store_halves(bits, V::load_f(values));
  }
  alignas(64) std::uint16_t bits[16];
};

LOADLINE_INLINE void store_k(TensorType type, std::byte* part, std::size_t dim, std::size_t cell, const float* x) {
  if (type == TensorType::Q8_0) {
    store_q8(part, true, dim, cell, x);
  } else if (type == TensorType::F32) {
    for (std::size_t i = 0; i < dim; ++i) reinterpret_cast<float*>(part)[k_index(i, cell)] = x[i];
  } else {
    for (std::size_t i = 0; i < dim; i += 16) {
      const std::size_t count = dim - i < 16 ? dim - i : 16;
      const Halves16 halves(x + i, count);
      for (std::size_t j = 0; j < count; ++j)
        reinterpret_cast<std::uint16_t*>(part)[k_index(i + j, cell)] = halves.bits[j];
    }
  }
}

LOADLINE_INLINE void store_v(TensorType type, std::byte* part, std::size_t dim, std::size_t cell, const float* x) {
  if (type == TensorType::Q8_0) {
    store_q8(part, false, dim, cell, x);
  } else if (type == TensorType::F32) {
    std::memcpy(part + cell * dim * sizeof(float), x, dim * sizeof(float));
  } else {
    for (std::size_t i = 0; i < dim; i += 16) {
      const std::size_t count = dim - i < 16 ? dim - i : 16;
      const Halves16 halves(x + i, count);
      std::memcpy(part + (cell * dim + i) * 2, halves.bits, count * 2);
    }
  }
}

}  // namespace

namespace LOADLINE_ISA {

void store_kv(const KvLayer& kv, std::uint32_t page, std::uint32_t cell, const float* k, const float* v,
              std::uint32_t begin_head, std::uint32_t end_head) {
  for (std::uint32_t h = begin_head; h < end_head; ++h) {
    store_k(kv.k_type, k_part(kv, page, h), kv.head_dim_k, cell, k + std::size_t{h} * kv.head_dim_k);
    if (kv.v == nullptr) continue;
    store_v(kv.v_type, v_part(kv, page, h), kv.head_dim_v, cell, v + std::size_t{h} * kv.head_dim_v);
  }
}

}  // namespace LOADLINE_ISA
}  // namespace loadline::cpu
