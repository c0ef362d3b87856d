// matmul.comp for a device with matrix units: the same tile of 64 weight rows by 64 tokens, but both sides become
// float16 in shared memory, and four subgroups multiply a quarter of the tile each, 32 rows by 32 tokens, in fragments
// of the size the device has. Sums are float32.
// float16 ends at 65504. So each token's activations are scaled by a power of two to below 1 and the sums scaled back;
// weights are cut off there, which those of a model do not come near.
// glslc knows the NV extension only; matrix_units.h makes of it what drivers have. EMULATED: the same program with the
// fragments' arithmetic in loops, so that the rest can be tested where there are no matrix units.

#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#ifndef EMULATED
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_NV_cooperative_matrix : require
#endif
#include "memory.glsl"
#include "pass.glsl"
#include "format.glsl"
#include "product.glsl"

// A fragment of weights is kRows by kDepth, one of activations kDepth by kTokens; all three divide 32.
layout(constant_id = 2) const uint kRows = 16u;
layout(constant_id = 3) const uint kTokens = 16u;
layout(constant_id = 4) const uint kDepth = 16u;

const uint kTileRows = 64u;
const uint kTileTokens = 64u;
const uint kQuarter = 32u;     // rows, and tokens, of a subgroup
const uint kStepVectors = 8u;  // vec4s of columns in a step
const uint kStep = 4u * kStepVectors;
const uint kStepUnits = kStepVectors / kUnitVectors;
const uint kStride = kStep + 8u;  // between rows, and between tokens: not all in the same bank
const float kMostHalf = 65504.0;

layout(local_size_x_id = 0) in;  // four subgroups

shared float16_t weights[kTileRows * kStride];
shared float16_t inputs[kTileTokens * kStride];
shared float results[kTileTokens * kTileRows];  // [token][row]
shared int exponents[kTileTokens];              // of two, by which a token's activations are divided

#ifdef EMULATED
// A fragment of weights or activations is where it lies; of the sums, each lane keeps every so manieth.
#define Weights uint
#define Inputs uint
struct Sums { float v[32]; };
Sums no_sums() {
  Sums sums;
  [[dont_unroll]] for (uint i = 0u; i < 32u; ++i) sums.v[i] = 0.0;
  return sums;
}
#define load_weight_fragment(fragment, at) fragment = at
#define load_input_fragment(fragment, at) fragment = at
Sums multiply_add(uint w, uint x, Sums sums) {
  [[dont_unroll]] for (uint i = 0u; i * gl_SubgroupSize < kRows * kTokens; ++i) {
    const uint at = i * gl_SubgroupSize + gl_SubgroupInvocationID;
    // Eight at a time: llvmpipe ends a program's loops after 65535 rounds in all.
    [[dont_unroll]] for (uint k = 0u; k < kDepth; k += 8u) {
      [[unroll]] for (uint j = 0u; j < 8u; ++j) {
        if (k + j >= kDepth) break;
        sums.v[i] +=
            float(weights[w + at % kRows * kStride + k + j]) * float(inputs[x + at / kRows * kStride + k + j]);
      }
    }
  }
  return sums;
}
void store_sums(Sums sums, uint to) {
  [[dont_unroll]] for (uint i = 0u; i * gl_SubgroupSize < kRows * kTokens; ++i) {
    const uint at = i * gl_SubgroupSize + gl_SubgroupInvocationID;
    results[to + at / kRows * kTileRows + at % kRows] = sums.v[i];
  }
}
#else
#define Weights fcoopmatNV<16, gl_ScopeSubgroup, kRows, kDepth>
#define Inputs fcoopmatNV<16, gl_ScopeSubgroup, kDepth, kTokens>
#define Sums fcoopmatNV<32, gl_ScopeSubgroup, kRows, kTokens>
#define no_sums() Sums(0.0)
#define load_weight_fragment(fragment, at) coopMatLoadNV(fragment, weights, at, kStride, false)
#define load_input_fragment(fragment, at) coopMatLoadNV(fragment, inputs, at, kStride, true)
#define multiply_add(w, x, sums) coopMatMulAddNV(w, x, sums)
#define store_sums(sums, to) coopMatStoreNV(sums, results, to, kTileRows, true)
#endif

// The power of two above each token's largest value.
void find_exponents(uint first_token, uint tokens) {
  const uint vectors = (arguments.columns + 3u) / 4u;
  [[dont_unroll]] for (uint t = gl_SubgroupID; t < kTileTokens; t += gl_NumSubgroups) {
    float largest = 0.0;
    if (first_token + t < tokens) {
      const uint64_t row = activations_of(first_token + t);
      [[dont_unroll]] for (uint i = gl_SubgroupInvocationID; i < vectors; i += gl_SubgroupSize) {
        const vec4 x = abs(load_activations(row, 4u * i, arguments.columns));
        largest = max(largest, max(max(x.x, x.y), max(x.z, x.w)));
      }
    }
    largest = subgroupMax(largest);
    int exponent = 0;
    if (largest > 0.0) frexp(largest, exponent);
    if (gl_SubgroupInvocationID == 0u) exponents[t] = clamp(exponent, -100, 100);
  }
}

void load_weights(uint step, uint units) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kTileRows * kStepUnits; i += gl_WorkGroupSize.x) {
    const uint unit = step * kStepUnits + i % kStepUnits;
    const uint row = i / kStepUnits;
    vec4 values[kUnitVectors];
    [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) values[v] = vec4(0.0);
    if (unit < units) {
      dequant_row(row_address(gl_WorkGroupID.x, kTileRows, row), unit, arguments.columns, values);
    }
    [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) {
      [[unroll]] for (uint c = 0u; c < 4u; ++c) {
        weights[row * kStride + (i % kStepUnits * kUnitVectors + v) * 4u + c] =
            float16_t(clamp(values[v][c], -kMostHalf, kMostHalf));
      }
    }
  }
}

void load_inputs(uint step, uint units, uint first_token, uint tokens) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kTileTokens * kStepVectors; i += gl_WorkGroupSize.x) {
    const uint slot = i % kStepVectors;
    const uint unit = step * kStepUnits + slot / kUnitVectors;
    const uint token = i / kStepVectors;
    vec4 x = vec4(0.0);
    if (unit < units && first_token + token < tokens) {
      x = load_activations(activations_of(first_token + token), row_offset(unit, slot % kUnitVectors),
                           arguments.columns);
      x *= ldexp(1.0, -exponents[token]);
    }
    [[unroll]] for (uint c = 0u; c < 4u; ++c) inputs[token * kStride + slot * 4u + c] = float16_t(x[c]);
  }
}

void main() {
  const uvec2 range = tile_tokens(kTileTokens);
  const uint first_token = range.x;
  const uint tokens = range.y;
  if (first_token >= tokens) return;
  const uint row_quarter = gl_SubgroupID % 2u * kQuarter;
  const uint token_quarter = gl_SubgroupID / 2u * kQuarter;
  const uint rows_across = kQuarter / kRows;
  const uint tokens_across = kQuarter / kTokens;
  Sums sums[(kQuarter / kRows) * (kQuarter / kTokens)];
  for (uint i = 0u; i < rows_across * tokens_across; ++i) sums[i] = no_sums();

  find_exponents(first_token, tokens);
  barrier();
  const uint units = row_units(arguments.columns);
  const uint steps = (units + kStepUnits - 1u) / kStepUnits;
  for (uint step = 0u; step < steps; ++step) {
    load_weights(step, units);
    load_inputs(step, units, first_token, tokens);
    barrier();
    for (uint k = 0u; k < kStep; k += kDepth) {
      Weights w[kQuarter / kRows];
      for (uint r = 0u; r < rows_across; ++r) load_weight_fragment(w[r], (row_quarter + r * kRows) * kStride + k);
      for (uint t = 0u; t < tokens_across; ++t) {
        Inputs x;
        load_input_fragment(x, (token_quarter + t * kTokens) * kStride + k);
        for (uint r = 0u; r < rows_across; ++r) {
          sums[t * rows_across + r] = multiply_add(w[r], x, sums[t * rows_across + r]);
        }
      }
    }
    barrier();
  }

  for (uint t = 0u; t < tokens_across; ++t) {
    for (uint r = 0u; r < rows_across; ++r) {
      store_sums(sums[t * rows_across + r],
                 (token_quarter + t * kTokens) * kTileRows + row_quarter + r * kRows);
    }
  }
  barrier();
  const uint stored = flag(kGated) ? kTileRows / 2u : kTileRows;
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kTileRows * kTileTokens; i += gl_WorkGroupSize.x) {
    const uint row = tile_row(gl_WorkGroupID.x, kTileRows, i % kTileRows);
    const uint token = first_token + i / kTileRows;
    if (i % kTileRows >= stored || row >= arguments.end_row || token >= tokens) continue;
    const float scale = ldexp(1.0, exponents[i / kTileRows]);
    float sum = results[i] * scale;
    if (flag(kGated)) sum = gated(sum, results[i + kTileRows / 2u] * scale);
    store_result(row, token, sum);
  }
}
