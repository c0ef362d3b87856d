// A matrix for each head of a row: model::ops::HeadLinear. A subgroup computes kRows rows of one head's matrix for one token;
// transposed, an invocation the columns of one unit, going down the rows. What is only copied goes with a head's first tile.
// HeadLinearArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "memory.glsl"
#include "pass.glsl"
#include "format.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint kRows = 4u;
layout(constant_id = 3) const bool kTransposed = false;

layout(push_constant, std430) uniform HeadLinearArguments {
  uint64_t weights;   // the first row of the first head's
  uint64_t x;         // [..][heads][inputs + copied] floats
  uint64_t result;    // [..][heads][outputs + copied] floats
  uint64_t table;     // the pass
  uint64_t codebooks;
  uint inputs;
  uint outputs;
  uint copied;
  uint heads;
  uint head_rows;     // from one head's matrix to the next
  uint row_bytes;
  uint tiles;         // workgroups of a head
  uint selected;      // rows are the outputs of the pass
} arguments;

uint64_t codebooks() { return arguments.codebooks; }

void multiply_rows(uint tile, uint64_t matrix, uint64_t x, uint64_t y) {
  const uint first = (tile * gl_NumSubgroups + gl_SubgroupID) * kRows;
  if (first >= arguments.outputs) return;
  const uint columns = arguments.inputs;
  float sums[kRows];
  [[unroll]] for (uint r = 0u; r < kRows; ++r) sums[r] = 0.0;
  for (uint unit = gl_SubgroupInvocationID; unit < row_units(columns); unit += gl_SubgroupSize) {
    [[unroll]] for (uint r = 0u; r < kRows; ++r) {
      vec4 values[kUnitVectors];
      // Past the last row the last one again; it is not stored.
      dequant_row(matrix + uint64_t(min(first + r, arguments.outputs - 1u)) * arguments.row_bytes, unit, columns, values);
      [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) {
        // Value by value: heads need not begin where vectors do.
        [[unroll]] for (uint e = 0u; e < 4u; ++e) {
          const uint at = row_offset(unit, v) + e;
          if (at < columns) sums[r] += values[v][e] * Floats(x).v[at];
        }
      }
    }
  }
  [[unroll]] for (uint r = 0u; r < kRows; ++r) {
    const float sum = subgroupAdd(sums[r]);
    if (gl_SubgroupInvocationID == 0u && first + r < arguments.outputs) Floats(y).v[first + r] = sum;
  }
}

void multiply_columns(uint tile, uint64_t matrix, uint64_t x, uint64_t y) {
  const uint unit = tile * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= row_units(arguments.outputs)) return;
  vec4 sums[kUnitVectors];
  [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) sums[v] = vec4(0.0);
  for (uint row = 0u; row < arguments.inputs; ++row) {
    vec4 values[kUnitVectors];
    dequant_row(matrix + uint64_t(row) * arguments.row_bytes, unit, arguments.outputs, values);
    const float factor = Floats(x).v[row];
    [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) sums[v] += factor * values[v];
  }
  [[unroll]] for (uint v = 0u; v < kUnitVectors; ++v) {
    [[unroll]] for (uint e = 0u; e < 4u; ++e) {
      const uint at = row_offset(unit, v) + e;
      if (at < arguments.outputs) Floats(y).v[at] = sums[v][e];
    }
  }
}

void main() {
  const uint token = gl_WorkGroupID.y;
  if (token >= pass_rows(arguments.table, arguments.selected != 0u)) return;
  const uint head = gl_WorkGroupID.x / arguments.tiles;
  const uint tile = gl_WorkGroupID.x % arguments.tiles;
  const uint row = token * arguments.heads + head;
  const uint64_t x = arguments.x + uint64_t(row * (arguments.inputs + arguments.copied)) * 4u;
  const uint64_t y = arguments.result + uint64_t(row * (arguments.outputs + arguments.copied)) * 4u;
  const uint64_t matrix = arguments.weights + uint64_t(head) * arguments.head_rows * arguments.row_bytes;
  if (tile == 0u) {
    for (uint i = gl_LocalInvocationID.x; i < arguments.copied; i += gl_WorkGroupSize.x) {
      Floats(y).v[arguments.outputs + i] = Floats(x).v[arguments.inputs + i];
    }
  }
  if (kTransposed) {
    multiply_columns(tile, matrix, x, y);
  } else {
    multiply_rows(tile, matrix, x, y);
  }
}
