// Keeps the rows of x that the pass wants logits for, in order, at its beginning. In place: an invocation has a column to
// itself and the wanted rows ascend, so that no row is overwritten before it was read.
// SelectArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform SelectArguments {
  uint64_t x;        // [tokens][columns] floats
  uint64_t outputs;  // [outputs] token indices
  uint64_t table;    // the pass
  uint columns;
} arguments;

void main() {
  const uint column = gl_GlobalInvocationID.x;
  if (column >= arguments.columns) return;
  const uint rows = pass_rows(arguments.table, true);
  for (uint i = 0u; i < rows; ++i) {
    const uint token = Words(arguments.outputs).v[i];
    const float value = Floats(arguments.x + uint64_t(token) * arguments.columns * 4u).v[column];
    Floats(arguments.x + uint64_t(i) * arguments.columns * 4u).v[column] = value;
  }
}
