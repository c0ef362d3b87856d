// A convolution over the tokens of a sequence, each channel by itself. The state is the last taps - 1 rows of x before the
// tokens of the pass. One dispatch computes the results, an invocation for each value; the next leaves the state behind.
// ConvolutionArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"
#include "activation.glsl"
#include "run.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform ConvolutionArguments {
  uint64_t x;       // [tokens][columns] floats
  uint64_t result;  // likewise, elsewhere
  uint64_t weight;  // [columns][taps] floats
  uint64_t bias;    // [columns] floats, or 0
  uint64_t states;  // [..][taps - 1][columns] floats
  uint64_t runs;
  uint64_t table;   // the pass
  uint columns;
  uint taps;
  uint function;
  uint leaves;      // this dispatch leaves the states: a row of workgroups for each run, else for each token
} arguments;

uint64_t state_of(uint index) {
  return arguments.states + uint64_t(index) * ((arguments.taps - 1u) * arguments.columns) * 4u;
}

// Row `at` of the run's x, counted from taps - 1 rows before its first.
float row_before(Run run, uint at, uint column) {
  const uint kept = arguments.taps - 1u;
  if (at >= kept) {
    return Floats(arguments.x + uint64_t(run.first_token + at - kept) * arguments.columns * 4u).v[column];
  }
  return run.position == 0u ? 0.0 : Floats(state_of(run.state)).v[at * arguments.columns + column];
}

void main() {
  const uint column = gl_GlobalInvocationID.x;
  const uint row = gl_WorkGroupID.y;
  const uint runs = run_count(arguments.table);
  if (column >= arguments.columns) return;
  if (arguments.leaves != 0u) {
    if (row >= runs) return;
    const Run run = run_at(arguments.runs, row);
    // Upwards, as the state may be left where it was: what is read lies further up.
    for (uint i = 0u; i + 1u < arguments.taps; ++i) {
      const float value = row_before(run, run.count + i, column);
      Floats(state_of(run.state_after)).v[i * arguments.columns + column] = value;
    }
    return;
  }
  if (row >= pass_rows(arguments.table, false)) return;
  uint index = 0u;
  Run run = run_at(arguments.runs, 0u);
  while (row >= run.first_token + run.count && index + 1u < runs) run = run_at(arguments.runs, ++index);
  float sum = arguments.bias != 0ul ? Floats(arguments.bias).v[column] : 0.0;
  for (uint tap = 0u; tap < arguments.taps; ++tap) {
    sum += Floats(arguments.weight).v[column * arguments.taps + tap] *
           row_before(run, row - run.first_token + tap, column);
  }
  Floats(arguments.result + uint64_t(row) * arguments.columns * 4u).v[column] = activated(arguments.function, sum);
}
