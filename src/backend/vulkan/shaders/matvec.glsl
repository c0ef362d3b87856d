// A matrix times one or a few rows of activations, each weight byte read once. A subgroup computes kRows rows of the
// matrix: its lanes take the units of a row in turn and meet in a sum at the end. With `norm` (one row of activations only), they are
// normalised on the way: the sum of their squares is gathered beside the products, and scales the results.
// DOTS: activations become bytes, four of them with a scale of their own, so that nothing is to be agreed on.
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "memory.glsl"
#include "pass.glsl"
#include "format.glsl"
#include "product.glsl"
#ifdef DOTS
#include "dots.glsl"
#endif

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint kRows = 4u;    // even, for gated products
layout(constant_id = 3) const uint kTokens = 1u;  // most rows of activations

void main() {
  const uint tokens = min(pass_rows(arguments.table, flag(kSelected)), kTokens);
  const uint tile = gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID;
  if (tokens == 0u || tile_row(tile, kRows, 0u) >= arguments.end_row) return;

  uint64_t rows[kRows];
  float sums[kRows][kTokens];
  float squares = 0.0;
  [[unroll]] for (uint r = 0u; r < kRows; ++r) {
    rows[r] = row_address(tile, kRows, r);
    [[unroll]] for (uint t = 0u; t < kTokens; ++t) sums[r][t] = 0.0;
  }

  const uint columns = arguments.columns;
  const uint units = row_units(columns);
  const bool normalised = kTokens == 1u && arguments.norm != 0ul;
  for (uint unit = gl_SubgroupInvocationID; unit < units; unit += gl_SubgroupSize) {
#ifdef DOTS
    uint weights[kRows][kUnitVectors];
    vec2 scales[kRows][kUnitVectors];
    [[unroll]] for (uint r = 0u; r < kRows; ++r) integers_of_row(rows[r], unit, weights[r], scales[r]);
#else
    vec4 weights[kRows][kUnitVectors];
    [[unroll]] for (uint r = 0u; r < kRows; ++r) dequant_row(rows[r], unit, columns, weights[r]);
#endif
    [[unroll]] for (uint i = 0u; i < kUnitVectors; ++i) {
      const uint at = row_offset(unit, i);
      vec4 gain = vec4(1.0);
      if (normalised) gain = load_activations(arguments.norm, at, columns);
      [[unroll]] for (uint t = 0u; t < kTokens; ++t) {
        // Past the last token the last one again, which is cheaper than to ask; its sums are not stored.
        vec4 x = load_activations(arguments.x + uint64_t(min(t, tokens - 1u) * columns) * 4u, at, columns);
        if (normalised) {
          squares += dot(x, x);
          x *= gain;
        }
#ifdef DOTS
        const float largest = largest_of(x);
        const uint bytes = packSnorm4x8(x * to_bytes(largest));
        const vec2 of_x = largest / kMostByte * vec2(1.0, sum_of(bytes));
        [[unroll]] for (uint r = 0u; r < kRows; ++r) {
          sums[r][t] += dot(scales[r][i], of_x * vec2(dot_of(weights[r][i], bytes), 1.0));
        }
#else
        [[unroll]] for (uint r = 0u; r < kRows; ++r) sums[r][t] += dot(weights[r][i], x);
#endif
      }
    }
  }

  const float scale = normalised ? 1.0 / sqrt(subgroupAdd(squares) / float(columns) + arguments.epsilon) : 1.0;
  [[unroll]] for (uint t = 0u; t < kTokens; ++t) {
    [[unroll]] for (uint r = 0u; r < kRows; ++r) sums[r][t] = subgroupAdd(sums[r][t]) * scale;
  }
  if (flag(kGated)) {
    [[unroll]] for (uint t = 0u; t < kTokens; ++t) {
      [[unroll]] for (uint r = 0u; r < kRows / 2u; ++r) sums[r][t] = gated(sums[r][t], sums[r + kRows / 2u][t]);
    }
  }
  // Each lane stores one of the results, or every gl_SubgroupSize-th.
  const uint stored = flag(kGated) ? kRows / 2u : kRows;
  for (uint first = 0u; first < kRows * kTokens; first += gl_SubgroupSize) {
    const uint mine = first + gl_SubgroupInvocationID;
    float sum = 0.0;
    [[unroll]] for (uint t = 0u; t < kTokens; ++t) {
      [[unroll]] for (uint r = 0u; r < kRows; ++r) sum = mine == t * kRows + r ? sums[r][t] : sum;
    }
    const uint row = tile_row(tile, kRows, mine % kRows);
    if (mine / kRows < tokens && mine % kRows < stored && row < arguments.end_row) {
      store_result(row, mine / kRows, sum);
    }
  }
}
