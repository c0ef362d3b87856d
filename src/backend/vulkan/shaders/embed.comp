// The hidden state's first value: the rows of the token embedding at the ids of the pass.
// EmbedArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"
#include "format.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform EmbedArguments {
  uint64_t weights;  // [vocabulary][columns], as in the file
  uint64_t ids;      // [tokens] of the pass
  uint64_t result;   // [tokens][columns] floats
  uint64_t table;    // the pass
  uint columns;
  uint row_bytes;
  uint64_t codebooks;
  uint id_stride;    // words from one id to the next
  uint add;          // to what is there
} arguments;

uint64_t codebooks() { return arguments.codebooks; }

void main() {
  const uint token = gl_WorkGroupID.y;
  const uint unit = gl_GlobalInvocationID.x;
  const uint columns = arguments.columns;
  if (token >= pass_rows(arguments.table, false) || unit >= row_units(columns)) return;
  const uint64_t row = arguments.weights + uint64_t(Words(arguments.ids).v[token * arguments.id_stride]) * arguments.row_bytes;
  vec4 values[kUnitVectors];
  dequant_row(row, unit, columns, values);
  [[unroll]] for (uint i = 0u; i < kUnitVectors; ++i) {
    const uint at = row_offset(unit, i);
    [[unroll]] for (uint e = 0u; e < 4u; ++e) {
      if (kRagged && at + e >= columns) continue;
      Floats row_of_result = Floats(arguments.result + uint64_t(token) * columns * 4u);
      row_of_result.v[at + e] = values[i][e] + (arguments.add != 0u ? row_of_result.v[at + e] : 0.0);
    }
  }
}
