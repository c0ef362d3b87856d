// The primitives the vector kernels are written in, for any processor: the compiler's own vectors of 16 lanes, which it
// takes apart as it must. Only vectors_scalar.cpp includes this; everything has internal linkage. (The scalar products
// and attention are written for themselves: kernels_scalar.cpp.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define LOADLINE_ISA scalar
#define LOADLINE_INLINE __attribute__((always_inline)) inline

namespace loadline::cpu {
namespace {

struct V {
  using F = float __attribute__((vector_size(64)));
  using I = std::int32_t __attribute__((vector_size(64)));

  static LOADLINE_INLINE I ints(int v) { return I{} + v; }
  static LOADLINE_INLINE I add32(I a, I b) { return a + b; }
  template <int n>
  static LOADLINE_INLINE I shl32(I v) {
    return v << n;
  }
  static LOADLINE_INLINE F as_float(I v) { return reinterpret_cast<F>(v); }
  static LOADLINE_INLINE I as_int(F v) { return reinterpret_cast<I>(v); }
  static LOADLINE_INLINE F to_float(I v) { return __builtin_convertvector(v, F); }
  // To the nearest, of values below 2^22: adding 1.5 * 2^23 leaves the integer in the lowest bits.
  static LOADLINE_INLINE I round_to_int(F v) { return as_int(v + 12582912.0F) - as_int(set(12582912.0F)); }

  static LOADLINE_INLINE F load_f(const float* p) {
    F v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static LOADLINE_INLINE void store_f(float* p, F v) { std::memcpy(p, &v, sizeof v); }
  static LOADLINE_INLINE F set(float x) { return F{} + x; }
  static LOADLINE_INLINE F zero_f() { return F{}; }
  static LOADLINE_INLINE F add(F a, F b) { return a + b; }
  static LOADLINE_INLINE F sub(F a, F b) { return a - b; }
  static LOADLINE_INLINE F mul(F a, F b) { return a * b; }
  static LOADLINE_INLINE F div(F a, F b) { return a / b; }
  // Where one of them is not a number, the second.
  static LOADLINE_INLINE F max(F a, F b) { return a > b ? a : b; }
  static LOADLINE_INLINE F min(F a, F b) { return a < b ? a : b; }
  static LOADLINE_INLINE F fma(F a, F b, F c) { return a * b + c; }
  static LOADLINE_INLINE float sum(F v) {
    float total = 0;
    for (int i = 0; i < 16; ++i) total += v[i];
    return total;
  }
};

}  // namespace
}  // namespace loadline::cpu
