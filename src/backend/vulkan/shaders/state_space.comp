// The scan of Mamba 2 (model::ops::StateSpace), token by token: a workgroup for each head of each run. An invocation has
// rows of the head's state to itself; they lie [state][row], so that neighbours read neighbours.
// StateSpaceArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"
#include "run.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform StateSpaceArguments {
  uint64_t xbc;      // [tokens] of: x [heads][inner / heads], B [groups][state], C likewise
  uint64_t dt;       // [tokens][heads] floats
  uint64_t dt_bias;  // [heads] floats
  uint64_t rate;     // likewise, negative
  uint64_t direct;   // likewise
  uint64_t result;   // [tokens][inner] floats
  uint64_t states;   // [..][heads][state][inner / heads] floats
  uint64_t runs;
  uint64_t table;    // the pass
  uint inner;
  uint state;
  uint heads;
  uint groups;
  uint first;        // this dispatch takes tokens [first, first + count) of each run
  uint count;
} arguments;

const uint kThreads = 64u;
const uint kMostStateSize = 1024u;  // staging.h

shared float inputs[kMostStateSize];
shared float outputs[kMostStateSize];

void main() {
  const uint self = gl_LocalInvocationID.x;
  const uint head = gl_WorkGroupID.x;
  if (gl_WorkGroupID.y >= run_count(arguments.table)) return;
  const Run run = run_at(arguments.runs, gl_WorkGroupID.y);
  const uint end = min(run.count, arguments.first + arguments.count);
  const uint states = arguments.state;
  const uint rows = arguments.inner / arguments.heads;
  const uint group = head / (arguments.heads / arguments.groups);
  const uint64_t state_bytes = uint64_t(arguments.inner) * states * 4u;
  const uint64_t own = arguments.states + uint64_t(head) * rows * states * 4u;
  Floats after = Floats(own + run.state_after * state_bytes);
  for (uint t = arguments.first; t < end; ++t) {
    const uint token = run.first_token + t;
    Floats row =
        Floats(arguments.xbc + uint64_t(token) * (arguments.inner + 2u * arguments.groups * states) * 4u);
    for (uint n = self; n < states; n += kThreads) {
      inputs[n] = row.v[arguments.inner + group * states + n];
      outputs[n] = row.v[arguments.inner + (arguments.groups + group) * states + n];
    }
    barrier();
    const float step =
        softplus(Floats(arguments.dt).v[token * arguments.heads + head] + Floats(arguments.dt_bias).v[head]);
    const float kept = exp(step * Floats(arguments.rate).v[head]);
    const bool fresh = t == 0u && run.position == 0u;
    Floats before = Floats(own + (t == 0u ? run.state : run.state_after) * state_bytes);
    for (uint i = self; i < rows; i += kThreads) {
      const float x = row.v[head * rows + i];
      float sum = Floats(arguments.direct).v[head] * x;
      for (uint n = 0u; n < states; ++n) {
        const float value = (fresh ? 0.0 : before.v[n * rows + i] * kept) + step * x * inputs[n];
        after.v[n * rows + i] = value;
        sum += value * outputs[n];
      }
      Floats(arguments.result).v[token * arguments.inner + head * rows + i] = sum;
    }
    barrier();  // before the next token's are there
  }
}
