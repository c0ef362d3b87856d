// A matrix times one or a few rows of activations, each weight byte read once. A subgroup computes kRows rows of the
// matrix: its lanes take the units of a row in turn and meet in a sum at the end. With `norm`, the activations are
// normalised on the way: the sum of their squares is gathered beside the products, and scales the results.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "memory.glsl"
#include "pass.glsl"
#include "format.glsl"
#include "product.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint kLanes = 32u;
layout(constant_id = 3) const uint kRows = 4u;    // even, for gated products
layout(constant_id = 4) const uint kTokens = 1u;  // most rows of activations

void main() {
  const uint tokens = min(pass_rows(arguments.table, flag(kSelected)), kTokens);
  const uint tile = gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID;
  if (tokens == 0u || tile_row(tile, kRows, 0u) >= arguments.end_row) return;

  uint64_t rows[kRows];
  float sums[kRows][kTokens];
  float squares[kTokens];
  [[unroll]] for (uint r = 0u; r < kRows; ++r) {
    rows[r] = row_address(tile, kRows, r);
    [[unroll]] for (uint t = 0u; t < kTokens; ++t) sums[r][t] = 0.0;
  }
  [[unroll]] for (uint t = 0u; t < kTokens; ++t) squares[t] = 0.0;

  const uint columns = arguments.columns;
  const uint units = row_units(columns);
  const bool normalised = arguments.norm != 0ul;
  for (uint unit = gl_SubgroupInvocationID; unit < units; unit += kLanes) {
    vec4 weights[kRows][kUnitVectors];
    [[unroll]] for (uint r = 0u; r < kRows; ++r) dequant_row(rows[r], unit, columns, weights[r]);
    [[unroll]] for (uint i = 0u; i < kUnitVectors; ++i) {
      const uint at = row_offset(unit, i);
      vec4 gain = vec4(1.0);
      if (normalised) gain = load_activations(arguments.norm, at, columns);
      [[unroll]] for (uint t = 0u; t < kTokens; ++t) {
        if (t >= tokens) break;
        vec4 x = load_activations(arguments.x + uint64_t(t * columns) * 4u, at, columns);
        if (normalised) {
          squares[t] += dot(x, x);
          x *= gain;
        }
        [[unroll]] for (uint r = 0u; r < kRows; ++r) sums[r][t] += dot(weights[r][i], x);
      }
    }
  }

  [[unroll]] for (uint t = 0u; t < kTokens; ++t) {
    if (t >= tokens) break;
    const float scale =
        normalised ? 1.0 / sqrt(subgroupAdd(squares[t]) / float(columns) + arguments.epsilon) : 1.0;
    [[unroll]] for (uint r = 0u; r < kRows; ++r) sums[r][t] = subgroupAdd(sums[r][t]) * scale;
    if (flag(kGated)) {
      [[unroll]] for (uint r = 0u; r < kRows / 2u; ++r) {
        const uint row = tile_row(tile, kRows, r);
        if (row < arguments.end_row && gl_SubgroupInvocationID == r) {
          store_result(row, t, silu(sums[r][t]) * sums[r + kRows / 2u][t]);
        }
      }
    } else {
      [[unroll]] for (uint r = 0u; r < kRows; ++r) {
        const uint row = tile_row(tile, kRows, r);
        if (row < arguments.end_row && gl_SubgroupInvocationID == r) store_result(row, t, sums[r][t]);
      }
    }
  }
}
