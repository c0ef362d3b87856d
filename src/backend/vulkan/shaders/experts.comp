// Products with the matrices of the experts that each token goes to. Into the experts (`used` rows of results for each
// token), a subgroup computes kRows rows of one expert's matrix for one token; out of them, kRows rows of the sum over the
// token's experts, each with its weight.
// ExpertArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "memory.glsl"
#include "pass.glsl"
#include "activation.glsl"
#include "format.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint kRows = 4u;

layout(push_constant, std430) uniform ExpertArguments {
  uint64_t weights;    // [experts] matrices, expert_bytes from one to the next
  uint64_t x;          // [tokens][columns] floats; out of the experts [tokens][used][columns]
  uint64_t chosen;     // [tokens][used] of: the expert, its weight
  uint64_t bias;       // [experts] times bias_stride floats, or 0
  uint64_t scale;      // [experts] floats, or 0
  uint64_t result;     // [tokens][used][stride] floats; out of the experts [tokens][stride]
  uint64_t table;      // the pass
  uint64_t codebooks;
  uint64_t expert_bytes;
  uint columns;
  uint row_bytes;
  uint first_row;      // this dispatch computes rows [first_row, end_row)
  uint end_row;
  uint stride;
  uint bias_stride;
  uint used;
  uint flags;
} arguments;

uint64_t codebooks() { return arguments.codebooks; }

const uint kActivatePrior = 4u;   // function(what is there) * (weights . x)
const uint kSelected = 8u;        // rows are the outputs of the pass
const uint kOut = 16u;            // out of the experts
const uint kActivate = 32u;       // function(weights . x)
const uint kWeightBefore = 64u;   // x times the expert's weight; out of the experts then no weight

bool flag(uint bit) { return (arguments.flags & bit) != 0u; }

void main() {
  const uint row_of_x = gl_WorkGroupID.y;  // token * used + place, or token
  const uint token = flag(kOut) ? row_of_x : row_of_x / arguments.used;
  const uint tile = gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID;
  const uint first_row = arguments.first_row + tile * kRows;
  if (token >= pass_rows(arguments.table, flag(kSelected)) || first_row >= arguments.end_row) return;

  float totals[kRows];
  [[unroll]] for (uint r = 0u; r < kRows; ++r) totals[r] = 0.0;
  const uint columns = arguments.columns;
  const uint units = row_units(columns);
  const uint count = flag(kOut) ? arguments.used : 1u;
  for (uint i = 0u; i < count; ++i) {
    const uint pair = flag(kOut) ? token * arguments.used + i : row_of_x;
    const uint expert = Words(arguments.chosen).v[2u * pair];
    const float weight = Floats(arguments.chosen).v[2u * pair + 1u];
    const uint64_t matrix = arguments.weights + uint64_t(expert) * arguments.expert_bytes;
    const uint64_t x = arguments.x + uint64_t((flag(kOut) ? pair : token) * columns) * 4u;
    float sums[kRows];
    [[unroll]] for (uint r = 0u; r < kRows; ++r) sums[r] = 0.0;
    for (uint unit = gl_SubgroupInvocationID; unit < units; unit += gl_SubgroupSize) {
      vec4 inputs[kUnitVectors];
      [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) {
        inputs[v] = load_activations(x, row_offset(unit, v), columns);
      }
      [[unroll]] for (uint r = 0u; r < kRows; ++r) {
        vec4 values[kUnitVectors];
        // Past the last row the last one again; it is not stored.
        dequant_row(matrix + uint64_t(min(first_row + r, arguments.end_row - 1u)) * arguments.row_bytes, unit, columns,
                    values);
        [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) sums[r] += dot(values[v], inputs[v]);
      }
    }
    const float scale = arguments.scale != 0ul ? Floats(arguments.scale).v[expert] : 1.0;
    [[unroll]] for (uint r = 0u; r < kRows; ++r) {
      float sum = subgroupAdd(sums[r]) * scale;
      if (flag(kWeightBefore) && !flag(kOut)) sum *= weight;
      if (arguments.bias != 0ul) {
        sum += Floats(arguments.bias).v[expert * arguments.bias_stride + min(first_row + r, arguments.end_row - 1u)];
      }
      totals[r] += flag(kOut) && !flag(kWeightBefore) ? sum * weight : sum;
    }
  }
  for (uint first = 0u; first < kRows; first += gl_SubgroupSize) {
    const uint mine = first + gl_SubgroupInvocationID;
    float total = 0.0;
    [[unroll]] for (uint r = 0u; r < kRows; ++r) total = mine == r ? totals[r] : total;
    if (mine >= kRows || first_row + mine >= arguments.end_row) continue;
    const uint at = row_of_x * arguments.stride + first_row + mine;
    const uint function = arguments.flags >> 8;
    if (flag(kActivatePrior)) total = activated_gate(function, Floats(arguments.result).v[at], total);
    if (flag(kActivate)) total = activated(function, total);
    Floats(arguments.result).v[at] = total;
  }
}
