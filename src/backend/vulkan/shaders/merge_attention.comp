// Puts the partial results of one token's head together: a workgroup per head and token.
// MergeArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"
#include "attention.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform MergeArguments {
  uint64_t workspace;
  uint64_t result;  // [tokens][heads * width] floats
  uint64_t table;   // the pass
  uint64_t sinks;   // see attention.comp
  uint heads;
  uint width;
  uint splits;
} arguments;

void main() {
  const uint head = gl_WorkGroupID.x;
  const uint token = gl_WorkGroupID.y;
  const uint width = arguments.width;
  if (token >= pass_rows(arguments.table, false)) return;
  const uint64_t first =
      partial_result(arguments.workspace, width, arguments.heads, arguments.splits, token, head, 0u);
  const float sink = arguments.sinks != 0ul ? Floats(arguments.sinks).v[head] : -3.0e38;
  float highest = sink;
  for (uint s = 0u; s < arguments.splits; ++s) {
    highest = max(highest, Floats(first).v[s * (width + 2u) + width]);
  }
  float total = arguments.sinks != 0ul ? exp(sink - highest) : 0.0;
  for (uint s = 0u; s < arguments.splits; ++s) {
    total += Floats(first).v[s * (width + 2u) + width + 1u] * exp(Floats(first).v[s * (width + 2u) + width] - highest);
  }
  for (uint i = gl_LocalInvocationID.x; i < width; i += 64u) {
    float sum = 0.0;
    for (uint s = 0u; s < arguments.splits; ++s) {
      sum += Floats(first).v[s * (width + 2u) + i] * exp(Floats(first).v[s * (width + 2u) + width] - highest);
    }
    Floats(arguments.result).v[(token * arguments.heads + head) * width + i] = sum / total;
  }
}
