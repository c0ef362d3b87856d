// Turns values in place, where heads.comp does not do it on the way: an invocation for each pair of a token.
// RopeArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform RopeArguments {
  uint64_t x;        // [tokens][heads * head] floats
  uint64_t angles;   // cosines, at sine_offset sines: [tokens][pairs] floats
  uint64_t table;    // the pass
  uint sine_offset;  // in floats
  uint pairs;        // of a head
  uint heads;
  uint head;         // values of a head
  uint offset;       // of the first in a head that turns
  uint neox;         // pairs (i, i + pairs) instead of (2 i, 2 i + 1)
} arguments;

void main() {
  const uint token = gl_WorkGroupID.y;
  const uint index = gl_GlobalInvocationID.x;
  const uint pairs = arguments.pairs;
  if (token >= pass_rows(arguments.table, false) || index >= arguments.heads * pairs) return;
  const uint pair = index % pairs;
  const float cosine = Floats(arguments.angles).v[token * pairs + pair];
  const float sine = Floats(arguments.angles).v[arguments.sine_offset + token * pairs + pair];
  const uint head = token * arguments.heads * arguments.head + index / pairs * arguments.head + arguments.offset;
  const uint first = head + (arguments.neox != 0u ? pair : 2u * pair);
  const uint second = first + (arguments.neox != 0u ? pairs : 1u);
  const float a = Floats(arguments.x).v[first];
  const float b = Floats(arguments.x).v[second];
  Floats(arguments.x).v[first] = a * cosine - b * sine;
  Floats(arguments.x).v[second] = a * sine + b * cosine;
}
