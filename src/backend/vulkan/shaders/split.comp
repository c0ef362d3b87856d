// Copies one part of each of the runs that a row consists of.
// SplitArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform SplitArguments {
  uint64_t x;       // [..][repeats][run] floats
  uint64_t result;  // [..][repeats][width] floats
  uint64_t table;   // the pass
  uint repeats;
  uint run;
  uint first;       // value of a run
  uint width;
  uint selected;    // rows are the outputs of the pass
} arguments;

void main() {
  const uint row = gl_WorkGroupID.y;
  const uint index = gl_GlobalInvocationID.x;
  const uint width = arguments.width;
  if (row >= pass_rows(arguments.table, arguments.selected != 0u) || index >= arguments.repeats * width) return;
  const uint from = (row * arguments.repeats + index / width) * arguments.run + arguments.first + index % width;
  Floats(arguments.result).v[row * arguments.repeats * width + index] = Floats(arguments.x).v[from];
}
