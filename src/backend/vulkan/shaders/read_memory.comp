// Reads memory once, as fast as it comes: the limit that generation is compared with. A workgroup reads 16 rounds of 256
// neighbouring quadwords. Nothing is stored but a sum that hardly any memory has, so that the reads cannot be left out.
// ReadMemoryArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 256) in;
layout(push_constant, std430) uniform ReadMemoryArguments {
  uint64_t from;    // 64 KiB for each workgroup
  uint64_t result;  // a word
} arguments;

void main() {
  const uint first = gl_WorkGroupID.x * 4096u + gl_LocalInvocationID.x;
  uvec4 sum = uvec4(0u);
  [[unroll]] for (uint i = 0u; i < 16u; ++i) sum += Quads(arguments.from).v[first + i * 256u];
  if (sum == uvec4(0x9E3779B9u)) Words(arguments.result).v[0] = sum.x;
}
