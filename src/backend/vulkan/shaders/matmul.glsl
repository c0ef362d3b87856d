// A matrix times many rows of activations, for prompts. A workgroup computes a tile of 64 weight rows by 64 tokens; in
// steps of 32 columns it decodes weights and copies activations into shared memory, and each invocation multiplies 4 rows
// by 8 tokens out of it. Within a step the columns come in the order of the format's units, the same for both sides.
// A device with matrix units multiplies the same two tiles with them (matmul_units.glsl).
// DOTS: both sides are bytes. In a step, vec4s that have the same place in their unit have one scale, on either side.
#include "memory.glsl"
#include "pass.glsl"
#include "format.glsl"
#include "product.glsl"
#ifdef DOTS
#include "dots.glsl"
#endif

const uint kThreads = 128u;
const uint kTileRows = 64u;
const uint kTileTokens = 64u;
const uint kStepVectors = 8u;  // vec4s of columns in a step
const uint kStepUnits = kStepVectors / kUnitVectors;
const uint kRowsEach = 4u;
const uint kTokensEach = 8u;
const uint kRowLanes = kTileRows / kRowsEach;
const uint kTokenLanes = kTileTokens / kTokensEach;

layout(local_size_x = 128) in;

#ifdef DOTS
// Words of four bytes of the tile of weights, then of that of activations, [kStepVectors][64] each; then for each vec4 of
// a unit, [kUnitVectors][64] each, scale and offset of weights, and scale and sum of activations. In the end the results,
// [kTileTokens][kTileRows].
shared uint tiles[kTileRows * kTileTokens];
const uint kActivations = kStepVectors * kTileRows;
const uint kWeightScales = kActivations + kStepVectors * kTileTokens;
const uint kInputScales = kWeightScales + 2u * kUnitVectors * kTileRows;

void store_scales(uint at, vec2 scales) {
  tiles[at] = floatBitsToUint(scales.x);
  tiles[at + 1u] = floatBitsToUint(scales.y);
}
vec2 scales_at(uint at) { return uintBitsToFloat(uvec2(tiles[at], tiles[at + 1u])); }

void load_weights(uint step, uint units) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kTileRows * kStepUnits; i += kThreads) {
    const uint unit = step * kStepUnits + i % kStepUnits;
    const uint row = i / kStepUnits;
    uint packed[kUnitVectors];
    vec2 scales[kUnitVectors];
    [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) {
      packed[v] = 0u;
      scales[v] = vec2(0.0);
    }
    if (unit < units) integers_of_row(row_address(gl_WorkGroupID.x, kTileRows, row), unit, packed, scales);
    [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) {
      tiles[(i % kStepUnits * kUnitVectors + v) * kTileRows + row] = packed[v];
      if (i % kStepUnits == 0u) store_scales(kWeightScales + 2u * (v * kTileRows + row), scales[v]);
    }
  }
}

void load_inputs(uint step, uint units, uint first_token, uint tokens) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kTileTokens * kUnitVectors; i += kThreads) {
    const uint v = i % kUnitVectors;
    const uint token = i / kUnitVectors;
    vec4 x[kStepUnits];
    float largest = 0.0;
    int sum = 0;
    [[unroll]] for (uint u = 0u; u < kStepUnits; ++u) {
      const uint unit = step * kStepUnits + u;
      x[u] = vec4(0.0);
      if (unit < units && first_token + token < tokens) {
        x[u] = load_activations(activations_of(first_token + token), row_offset(unit, v), arguments.columns);
      }
      largest = max(largest, largest_of(x[u]));
    }
    [[unroll]] for (uint u = 0u; u < kStepUnits; ++u) {
      const uint bytes = packSnorm4x8(x[u] * to_bytes(largest));
      sum += sum_of(bytes);
      tiles[kActivations + (u * kUnitVectors + v) * kTileTokens + token] = bytes;
    }
    store_scales(kInputScales + 2u * (v * kTileTokens + token), largest / kMostByte * vec2(1.0, sum));
  }
}

void multiply(uint row_lane, uint token_lane, inout float sums[kRowsEach][kTokensEach]) {
  [[dont_unroll]] for (uint v = 0u; v < kUnitVectors; ++v) {
    int dots[kRowsEach][kTokensEach];
    [[unroll]] for (uint r = 0u; r < kRowsEach; ++r) {
      [[unroll]] for (uint t = 0u; t < kTokensEach; ++t) dots[r][t] = 0;
    }
    [[dont_unroll]] for (uint slot = v; slot < kStepVectors; slot += kUnitVectors) {
      uint weights[kRowsEach];
      [[unroll]] for (uint r = 0u; r < kRowsEach; ++r) {
        weights[r] = tiles[slot * kTileRows + row_lane + r * kRowLanes];
      }
      [[unroll]] for (uint t = 0u; t < kTokensEach; ++t) {
        const uint x = tiles[kActivations + slot * kTileTokens + token_lane + t * kTokenLanes];
        [[unroll]] for (uint r = 0u; r < kRowsEach; ++r) dots[r][t] += dot_of(weights[r], x);
      }
    }
    vec2 scales[kRowsEach];
    [[unroll]] for (uint r = 0u; r < kRowsEach; ++r) {
      scales[r] = scales_at(kWeightScales + 2u * (v * kTileRows + row_lane + r * kRowLanes));
    }
    [[unroll]] for (uint t = 0u; t < kTokensEach; ++t) {
      const vec2 of_x = scales_at(kInputScales + 2u * (v * kTileTokens + token_lane + t * kTokenLanes));
      [[unroll]] for (uint r = 0u; r < kRowsEach; ++r) {
        sums[r][t] += dot(scales[r], of_x * vec2(dots[r][t], 1.0));
      }
    }
  }
}

void put_result(uint at, float value) { tiles[at] = floatBitsToUint(value); }
float result_at(uint at) { return uintBitsToFloat(tiles[at]); }
#else
// The tile of weights, then that of activations, [kStepVectors][64] each; in the end the results, [kTileTokens][kTileRows].
shared vec4 tiles[kStepVectors * (kTileRows + kTileTokens)];
const uint kActivations = kStepVectors * kTileRows;

void load_weights(uint step, uint units) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kTileRows * kStepUnits; i += kThreads) {
    const uint unit = step * kStepUnits + i % kStepUnits;
    const uint row = i / kStepUnits;
    vec4 values[kUnitVectors];
    [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) values[v] = vec4(0.0);
    if (unit < units) {
      dequant_row(row_address(gl_WorkGroupID.x, kTileRows, row), unit, arguments.columns, values);
    }
    [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) {
      tiles[(i % kStepUnits * kUnitVectors + v) * kTileRows + row] = values[v];
    }
  }
}

void load_inputs(uint step, uint units, uint first_token, uint tokens) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kTileTokens * kStepVectors; i += kThreads) {
    const uint slot = i % kStepVectors;
    const uint unit = step * kStepUnits + slot / kUnitVectors;
    const uint token = first_token + i / kStepVectors;
    vec4 x = vec4(0.0);
    if (unit < units && token < tokens) {
      x = load_activations(activations_of(token), row_offset(unit, slot % kUnitVectors), arguments.columns);
    }
    tiles[kActivations + slot * kTileTokens + i / kStepVectors] = x;
  }
}

void multiply(uint row_lane, uint token_lane, inout float sums[kRowsEach][kTokensEach]) {
  [[dont_unroll]] for (uint slot = 0u; slot < kStepVectors; ++slot) {
    vec4 weights[kRowsEach];
    [[unroll]] for (uint r = 0u; r < kRowsEach; ++r) {
      weights[r] = tiles[slot * kTileRows + row_lane + r * kRowLanes];
    }
    [[unroll]] for (uint t = 0u; t < kTokensEach; ++t) {
      const vec4 x = tiles[kActivations + slot * kTileTokens + token_lane + t * kTokenLanes];
      [[unroll]] for (uint r = 0u; r < kRowsEach; ++r) sums[r][t] += dot(weights[r], x);
    }
  }
}

void put_result(uint at, float value) { tiles[at / 4u][at % 4u] = value; }
float result_at(uint at) { return tiles[at / 4u][at % 4u]; }
#endif

void main() {
  const uvec2 range = tile_tokens(kTileTokens);
  const uint first_token = range.x;
  const uint tokens = range.y;
  if (first_token >= tokens) return;
  const uint row_lane = gl_LocalInvocationID.x % kRowLanes;
  const uint token_lane = gl_LocalInvocationID.x / kRowLanes;
  float sums[kRowsEach][kTokensEach];
  [[unroll]] for (uint r = 0u; r < kRowsEach; ++r) {
    [[unroll]] for (uint t = 0u; t < kTokensEach; ++t) sums[r][t] = 0.0;
  }

  const uint units = row_units(arguments.columns);
  const uint steps = (units + kStepUnits - 1u) / kStepUnits;
  for (uint step = 0u; step < steps; ++step) {
    load_weights(step, units);
    load_inputs(step, units, first_token, tokens);
    barrier();
    multiply(row_lane, token_lane, sums);
    barrier();
  }

  // Through shared memory, so that neighbouring invocations store neighbouring rows.
  [[unroll]] for (uint t = 0u; t < kTokensEach; ++t) {
    [[unroll]] for (uint r = 0u; r < kRowsEach; ++r) {
      put_result((token_lane + t * kTokenLanes) * kTileRows + row_lane + r * kRowLanes, sums[r][t]);
    }
  }
  barrier();
  const uint stored = flag(kGated) ? kTileRows / 2u : kTileRows;
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kTileRows * kTileTokens; i += kThreads) {
    const uint row = tile_row(gl_WorkGroupID.x, kTileRows, i % kTileRows);
    const uint token = first_token + i / kTileRows;
    if (i % kTileRows >= stored || row >= arguments.end_row || token >= tokens) continue;
    float sum = result_at(i);
    if (flag(kGated)) sum = gated(sum, result_at(i + kTileRows / 2u));
    store_result(row, token, sum);
  }
}
