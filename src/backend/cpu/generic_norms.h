// Norms, activations and what else works value by value, written once over the primitives of an instruction set.
// Internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backend/cpu/generic_math.h"
#include "backend/cpu/vector_kernels.h"

namespace loadline::cpu {
namespace {

// The first `count` of 16 floats; zeros after them.
LOADLINE_INLINE F load_some(const float* p, std::size_t count) {
  if (count >= 16) return V::load_f(p);
  alignas(64) float lanes[16] = {};
  std::memcpy(lanes, p, count * sizeof(float));
  return V::load_f(lanes);
}
LOADLINE_INLINE void store_some(float* p, F v, std::size_t count) {
  if (count >= 16) return V::store_f(p, v);
  alignas(64) float lanes[16];
  V::store_f(lanes, v);
  std::memcpy(p, lanes, count * sizeof(float));
}

// The sum over x of term(16 values); the last ones are filled up with `rest`, of which the term is zero.
template <class Term>
LOADLINE_INLINE float sum_of(const float* x, std::uint64_t columns, float rest, Term&& term) {
  F sums[4] = {V::zero_f(), V::zero_f(), V::zero_f(), V::zero_f()};
  std::uint64_t c = 0;
  for (; c + 64 <= columns; c += 64) {
    unrolled<4>(LOADLINE_EACH(i) { sums[i] = V::add(sums[i], term(V::load_f(x + c + 16 * i))); });
  }
  for (; c + 16 <= columns; c += 16) sums[0] = V::add(sums[0], term(V::load_f(x + c)));
  if (c < columns) {
    alignas(64) float last[16];
    for (float& lane : last) lane = rest;
    std::memcpy(last, x + c, (columns - c) * sizeof(float));
    sums[1] = V::add(sums[1], term(V::load_f(last)));
  }
  return V::sum(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])));
}

LOADLINE_INLINE float squares_around(const float* x, std::uint64_t columns, float mean) {
  const F middle = V::set(mean);
  return sum_of(x, columns, mean, [&](F v) __attribute__((always_inline)) {
    const F distance = V::sub(v, middle);
    return V::mul(distance, distance);
  });
}

void norm(const Norm& norm, const float* x, float* out, std::uint64_t columns, std::uint64_t begin, std::uint64_t end) {
  const auto count = static_cast<float>(columns);
  float mean = 0;
  if (norm.kind == NormKind::Layer) {
    mean = sum_of(x, columns, 0.0F, [](F v) __attribute__((always_inline)) { return v; }) / count;
  }
  const float squares = squares_around(x, columns, mean);
  float factor;
  if (norm.kind == NormKind::L2) {
    const float length = __builtin_sqrtf(squares);
    factor = 1.0F / (length > norm.epsilon ? length : norm.epsilon);
  } else {
    factor = 1.0F / __builtin_sqrtf(squares / count + norm.epsilon);
  }
  const F middle = V::set(mean);
  const F scale = V::set(factor);
  for (std::uint64_t c = begin; c < end; c += 16) {
    const std::size_t n = end - c < 16 ? end - c : 16;
    F value = V::mul(V::sub(load_some(x + c, n), middle), scale);
    if (norm.weight != nullptr) value = V::mul(value, load_some(norm.weight + c, n));
    if (norm.bias != nullptr) value = V::add(value, load_some(norm.bias + c, n));
    store_some(out + c, value, n);
  }
}

// f(16 values of x) to `out`, whatever the count.
template <class Function>
LOADLINE_INLINE void map(const float* x, float* out, std::uint64_t count, Function&& f) {
  std::uint64_t i = 0;
  for (; i + 16 <= count; i += 16) V::store_f(out + i, f(V::load_f(x + i)));
  if (i < count) store_some(out + i, f(load_some(x + i, count - i)), count - i);
}
template <class Function>
LOADLINE_INLINE void map2(const float* x, const float* y, float* out, std::uint64_t count, Function&& f) {
  std::uint64_t i = 0;
  for (; i + 16 <= count; i += 16) V::store_f(out + i, f(V::load_f(x + i), V::load_f(y + i)));
  if (i < count) store_some(out + i, f(load_some(x + i, count - i), load_some(y + i, count - i)), count - i);
}

// Of f alone, or times `up`.
template <class Function>
LOADLINE_INLINE void map_gated(const float* x, const float* up, float* out, std::uint64_t count, Function&& f) {
  if (up == nullptr) return map(x, out, count, f);
  map2(x, up, out, count, [&](F a, F b) __attribute__((always_inline)) { return V::mul(f(a), b); });
}

LOADLINE_INLINE F xielu(const Activation& activation, F x) {
  const F one = V::set(1.0F);
  const F above = V::max(V::zero_f(), x);
  const F below = V::min(V::zero_f(), x);
  const F is_above = V::min(one, V::mul(above, V::set(1e38F)));
  const F grown = V::sub(exponential(V::min(V::set(activation.d), below)), one);
  const F lower = V::mul(V::sub(grown, below), V::sub(one, is_above));
  F value = V::mul(V::set(activation.c), x);
  value = V::fma(V::mul(above, above), V::set(activation.a), value);
  return V::fma(lower, V::set(activation.b), value);
}

void activate(const Activation& activation, const float* x, const float* up, float* out, std::uint64_t count) {
  switch (activation.function) {
    case ActivationFunction::Identity:
      return map_gated(x, up, out, count, [](F v) __attribute__((always_inline)) { return v; });
    case ActivationFunction::Silu:
      return map_gated(x, up, out, count, [](F v) __attribute__((always_inline)) { return silu(v); });
    case ActivationFunction::Gelu:
      return map_gated(x, up, out, count, [](F v) __attribute__((always_inline)) { return gelu(v); });
    case ActivationFunction::Relu2:
      return map_gated(x, up, out, count, [](F v) __attribute__((always_inline)) {
        const F positive = V::max(V::zero_f(), v);
        return V::mul(positive, positive);
      });
    case ActivationFunction::Sigmoid:
      return map_gated(x, up, out, count, [](F v) __attribute__((always_inline)) { return sigmoid(v); });
    case ActivationFunction::Softcap: {
      const F cap = V::set(activation.a);
      const F inverse = V::set(1.0F / activation.a);
      return map_gated(x, up, out, count, [&](F v) __attribute__((always_inline)) {
        return V::mul(cap, hyperbolic_tangent(V::mul(v, inverse)));
      });
    }
    case ActivationFunction::Xielu:
      return map_gated(x, up, out, count, [&](F v) __attribute__((always_inline)) { return xielu(activation, v); });
    case ActivationFunction::SwigluOai: {
      const F most = V::set(activation.b);
      const F least = V::set(-activation.b);
      return map2(x, up, out, count, [&](F gate, F linear) __attribute__((always_inline)) {
        gate = V::min(most, gate);
        linear = V::max(least, V::min(most, linear));
        return V::mul(V::mul(gate, sigmoid(V::mul(V::set(activation.a), gate))), V::add(linear, V::set(1.0F)));
      });
    }
    case ActivationFunction::Softplus:  // of a few values: a number for each head
      for (std::uint64_t i = 0; i < count; ++i) {
        const float value = x[i] > 20.0F ? x[i] : __builtin_log1pf(__builtin_expf(x[i]));
        out[i] = up == nullptr ? value : value * up[i];
      }
      return;
  }
}

void add_scaled(float* target, const float* source, float factor, std::uint64_t count) {
  map2(source, target, target, count,
       [&](F s, F t) __attribute__((always_inline)) { return V::fma(s, V::set(factor), t); });
}

void scale(float* x, float factor, std::uint64_t count) {
  map(x, x, count, [&](F v) __attribute__((always_inline)) { return V::mul(v, V::set(factor)); });
}

void multiply(const float* a, const float* b, float* out, std::uint64_t count) {
  map2(a, b, out, count, [](F x, F y) __attribute__((always_inline)) { return V::mul(x, y); });
}

}  // namespace
}  // namespace loadline::cpu
