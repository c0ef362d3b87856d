// Multiplies and adds in float32 as fast as it goes: the limit that prompts are compared with. An invocation has eight
// independent chains of 128 steps on four values each, 8192 operations where a multiply-add counts two.
// MultiplyAddArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform MultiplyAddArguments {
  uint64_t result;  // a word
  float factor;     // known to nobody before it runs, so that nothing is worked out in advance
} arguments;

void main() {
  vec4 chains[8];
  [[unroll]] for (uint c = 0u; c < 8u; ++c) chains[c] = vec4(float(gl_GlobalInvocationID.x + c));
  [[dont_unroll]] for (uint i = 0u; i < 128u; ++i) {
    [[unroll]] for (uint c = 0u; c < 8u; ++c) chains[c] = chains[c] * arguments.factor + vec4(1.0, 2.0, 3.0, 4.0);
  }
  vec4 sum = vec4(0.0);
  [[unroll]] for (uint c = 0u; c < 8u; ++c) sum += chains[c];
  if (sum == vec4(-1.0)) Words(arguments.result).v[0] = 0u;
}
