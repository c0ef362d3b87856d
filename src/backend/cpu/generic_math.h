// The exponential and what is made of it, written once over the primitives of an instruction set. Internal linkage.
#pragma once

#include "backend/cpu/generic_lanes.h"

namespace loadline::cpu {
namespace {

// exp(x) for x in [-87, 88], clamped to that range beyond; NaN stays NaN. Relative error below 3e-7: the argument is
// reduced to |r| <= ln(2) / 2, where the Taylor polynomial of degree 7 leaves 6e-9, and the rest is rounding.
LOADLINE_INLINE F exponential(F x) {
  // The operand that may be NaN comes second, which is the one that minimum and maximum return then.
  x = V::min(V::set(88.0F), V::max(V::set(-87.0F), x));
  const I n = V::round_to_int(V::mul(x, V::set(1.44269504F)));
  const F turns = V::to_float(n);
  F r = V::fma(turns, V::set(-0.693359375F), x);  // ln(2) in two parts, the first exact in 10 bits
  r = V::fma(turns, V::set(2.12194440e-4F), r);
  F p = V::set(1.0F / 5040);
  p = V::fma(p, r, V::set(1.0F / 720));
  p = V::fma(p, r, V::set(1.0F / 120));
  p = V::fma(p, r, V::set(1.0F / 24));
  p = V::fma(p, r, V::set(1.0F / 6));
  p = V::fma(p, r, V::set(0.5F));
  p = V::fma(p, r, V::set(1.0F));
  p = V::fma(p, r, V::set(1.0F));
  return V::mul(p, V::as_float(V::template shl32<23>(V::add32(n, V::ints(127)))));
}

// 1 / (1 + exp(-x))
LOADLINE_INLINE F sigmoid(F x) {
  return V::div(V::set(1.0F), V::add(V::set(1.0F), exponential(V::sub(V::zero_f(), x))));
}

// Absolute error below 2e-7: 1 - 2 / (exp(2 x) + 1).
LOADLINE_INLINE F hyperbolic_tangent(F x) {
  const F grown = exponential(V::add(x, x));
  return V::sub(V::set(1.0F), V::div(V::set(2.0F), V::add(grown, V::set(1.0F))));
}

// The tanh approximation, x / 2 (1 + tanh(y)) with y = sqrt(2 / pi) (x + 0.044715 x^3), which is x sigmoid(2 y).
LOADLINE_INLINE F gelu(F x) {
  const F cubic = V::fma(V::mul(x, x), V::set(0.044715F * 1.5957691216F), V::set(1.5957691216F));
  return V::div(x, V::add(V::set(1.0F), exponential(V::sub(V::zero_f(), V::mul(x, cubic)))));
}

// x / (1 + exp(-x))
LOADLINE_INLINE F silu(F x) { return V::div(x, V::add(V::set(1.0F), exponential(V::sub(V::zero_f(), x)))); }

}  // namespace
}  // namespace loadline::cpu
