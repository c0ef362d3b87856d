// The largest magnitude of activations, which rounding them begins with, written once over the primitives of an
// instruction set. Internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_formats.h"

namespace loadline::cpu {
namespace {

LOADLINE_INLINE F magnitude_bits(F x) { return V::as_float(V::and_(V::as_int(x), V::ints(0x7FFFFFFF))); }

// Bits of the largest magnitude of `count` (a multiple of 16) floats. As bits, infinities and NaN are the largest.
LOADLINE_INLINE std::int32_t largest_bits(const float* x, std::size_t count) {
  I largest = V::zero();
  for (std::size_t i = 0; i < count; i += 16) {
    largest = V::max_ints(largest, V::as_int(magnitude_bits(V::load_f(x + i))));
  }
  return V::largest_int(largest);
}

}  // namespace
}  // namespace loadline::cpu
