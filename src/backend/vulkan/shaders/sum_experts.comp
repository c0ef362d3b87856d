// What the experts of a token made, added up, each with its weight: an invocation for each value.
// SumArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform SumArguments {
  uint64_t x;       // [tokens][used][columns] floats
  uint64_t chosen;  // [tokens][used] of: the expert, its weight
  uint64_t result;  // [tokens][columns] floats
  uint64_t table;   // the pass
  uint columns;
  uint used;
  uint weighted;    // 0: each counts as it is
  uint selected;    // rows are the outputs of the pass
} arguments;

void main() {
  const uint row = gl_WorkGroupID.y;
  const uint column = gl_GlobalInvocationID.x;
  if (row >= pass_rows(arguments.table, arguments.selected != 0u) || column >= arguments.columns) return;
  float sum = 0.0;
  for (uint i = 0u; i < arguments.used; ++i) {
    const uint pair = row * arguments.used + i;
    const float weight = arguments.weighted != 0u ? Floats(arguments.chosen).v[2u * pair + 1u] : 1.0;
    sum += weight * Floats(arguments.x + uint64_t(pair) * arguments.columns * 4u).v[column];
  }
  Floats(arguments.result).v[row * arguments.columns + column] = sum;
}
