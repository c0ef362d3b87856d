// Layers whose memory is a state of fixed size, written once over the primitives of an instruction set. Internal
// linkage. A prompt's tokens go one after the other through a few columns of a state, which stay in the cache next to
// the core meanwhile.
#pragma once

#include <cstdint>

#include "backend/cpu/generic_norms.h"

namespace loadline::cpu {
namespace {

// 16 channels from `channel` on, or as many as `count` says.
LOADLINE_INLINE void convolve_channels(const Convolution& convolution, const float* x, std::uint64_t stride, float* out,
                                       std::uint64_t out_stride, std::uint32_t tokens, float* state,
                                       std::uint64_t channel, std::size_t count) {
  const std::uint32_t taps = convolution.taps;
  alignas(64) float weights[kMaxTaps][16] = {};
  for (std::size_t i = 0; i < count; ++i) {
    for (std::uint32_t k = 0; k < taps; ++k) weights[k][i] = convolution.weight[(channel + i) * taps + k];
  }
  // The last kMaxTaps inputs, in a ring.
  F inputs[kMaxTaps];
  for (std::uint32_t k = 0; k < kMaxTaps; ++k) inputs[k] = V::zero_f();
  for (std::uint32_t k = 0; k + 1 < taps; ++k) {
    inputs[k] = load_some(state + std::uint64_t{k} * convolution.channels + channel, count);
  }
  const F start = convolution.bias != nullptr ? load_some(convolution.bias + channel, count) : V::zero_f();
  for (std::uint32_t t = 0; t < tokens; ++t) {
    inputs[taps - 1] = load_some(x + t * stride + channel, count);
    F sum = start;
    for (std::uint32_t k = 0; k < taps; ++k) sum = V::fma(inputs[k], V::load_f(weights[k]), sum);
    if (convolution.silu) sum = silu(sum);
    store_some(out + t * out_stride + channel, sum, count);
    for (std::uint32_t k = 0; k + 1 < taps; ++k) inputs[k] = inputs[k + 1];
  }
  for (std::uint32_t k = 0; k + 1 < taps; ++k) {
    store_some(state + std::uint64_t{k} * convolution.channels + channel, inputs[k], count);
  }
}

void convolve(const Convolution& convolution, const float* x, std::uint64_t stride, float* out,
              std::uint64_t out_stride, std::uint32_t tokens, float* state, std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t c = begin; c < end; c += 16) {
    convolve_channels(convolution, x, stride, out, out_stride, tokens, state, c, end - c < 16 ? end - c : 16);
  }
}

// One token and 16 columns of a head's matrix, `rows` apart by `width` floats:
// what is read with `key` (times the decay), and then, with the change added, with `query`.
LOADLINE_INLINE void delta_columns(const DeltaNet& net, const DeltaRows& rows, std::uint32_t head,
                                   std::uint32_t key_head, std::uint32_t column, std::size_t count) {
  const std::uint32_t dim = net.head_dim;
  float* matrix = rows.state + std::uint64_t{head} * dim * dim + column;
  for (std::uint32_t t = 0; t < rows.tokens; ++t) {
    const float* key = rows.key + t * rows.key_stride + std::uint64_t{key_head} * dim;
    const float* query = rows.query + t * rows.query_stride + std::uint64_t{key_head} * dim;
    alignas(64) float kept[16];
    V::store_f(kept, exponential(V::set(rows.decay[t * rows.gate_stride + head])));
    const F decay = V::set(kept[0]);
    F read[2] = {V::zero_f(), V::zero_f()};
    std::uint32_t i = 0;
    for (; i + 2 <= dim; i += 2) {
      unrolled<2>(LOADLINE_EACH(j) {
        const F row = load_some(matrix + std::uint64_t{i + j} * dim, count);
        read[j] = V::fma(row, V::set(key[i + j]), read[j]);
      });
    }
    if (i < dim) read[0] = V::fma(load_some(matrix + std::uint64_t{i} * dim, count), V::set(key[i]), read[0]);
    const F value = load_some(rows.value + t * rows.value_stride + std::uint64_t{head} * dim + column, count);
    const F known = V::mul(V::add(read[0], read[1]), decay);
    const F change = V::mul(V::sub(value, known), V::set(rows.beta[t * rows.gate_stride + head]));
    F out = V::zero_f();
    for (i = 0; i < dim; ++i) {
      float* at = matrix + std::uint64_t{i} * dim;
      const F row = V::fma(change, V::set(key[i]), V::mul(load_some(at, count), decay));
      store_some(at, row, count);
      out = V::fma(row, V::set(query[i]), out);
    }
    store_some(rows.out + t * rows.out_stride + std::uint64_t{head} * dim + column, out, count);
  }
}

void delta_net(const DeltaNet& net, const DeltaRows& rows, std::uint32_t value_head, std::uint32_t begin,
               std::uint32_t end) {
  const std::uint32_t key_head =
      net.tiled ? value_head % net.key_heads : value_head / (net.value_heads / net.key_heads);
  std::uint32_t c = begin;
  for (; c + 16 <= end; c += 16) delta_columns(net, rows, value_head, key_head, c, 16);
  if (c < end) delta_columns(net, rows, value_head, key_head, c, end - c);
}

LOADLINE_INLINE void scan_columns(const Mamba2& scan, const MambaRows& rows, std::uint32_t head, std::uint32_t column,
                                  std::size_t count) {
  const std::uint32_t group = head / (scan.heads / scan.groups);
  float* state = rows.state + std::uint64_t{head} * scan.state_dim * scan.head_dim + column;
  const F through = V::set(scan.d[head]);
  for (std::uint32_t t = 0; t < rows.tokens; ++t) {
    const float* b = rows.b + t * rows.stride + std::uint64_t{group} * scan.state_dim;
    const float* c = rows.c + t * rows.stride + std::uint64_t{group} * scan.state_dim;
    const float dt = rows.dt[t * rows.dt_stride + head];
    const F decay = exponential(V::set(dt * scan.a[head]));
    const F x = load_some(rows.x + t * rows.stride + std::uint64_t{head} * scan.head_dim + column, count);
    const F input = V::mul(x, V::set(dt));
    F out = V::mul(x, through);
    for (std::uint32_t i = 0; i < scan.state_dim; ++i) {
      float* at = state + std::uint64_t{i} * scan.head_dim;
      const F row = V::fma(input, V::set(b[i]), V::mul(load_some(at, count), decay));
      store_some(at, row, count);
      out = V::fma(row, V::set(c[i]), out);
    }
    store_some(rows.out + t * rows.out_stride + std::uint64_t{head} * scan.head_dim + column, out, count);
  }
}

void mamba2(const Mamba2& scan, const MambaRows& rows, std::uint32_t head, std::uint32_t begin, std::uint32_t end) {
  std::uint32_t c = begin;
  for (; c + 16 <= end; c += 16) scan_columns(scan, rows, head, c, 16);
  if (c < end) scan_columns(scan, rows, head, c, end - c);
}

}  // namespace
}  // namespace loadline::cpu
