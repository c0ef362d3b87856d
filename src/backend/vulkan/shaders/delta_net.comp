// The gated delta rule (model::ops::DeltaNet), token by token: a workgroup for each value head of each run. An invocation
// has columns of the head's state to itself, so that nobody waits for the state.
// DeltaNetArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"
#include "run.glsl"

layout(local_size_x = 128) in;
layout(push_constant, std430) uniform DeltaNetArguments {
  uint64_t qkv;     // [tokens] of: q [key_heads][size], k likewise, v [value_heads][size]
  uint64_t beta;    // [tokens][value_heads] floats
  uint64_t decay;   // likewise
  uint64_t dt_bias; // [value_heads] floats
  uint64_t rate;    // likewise, negative
  uint64_t result;  // [tokens][value_heads][size] floats
  uint64_t states;  // [..][value_heads][size of k][size of v] floats
  uint64_t runs;
  uint64_t table;   // the pass
  uint key_heads;
  uint value_heads;
  uint size;
  float epsilon;
  uint tiled;       // value head j uses key head j mod key_heads
  uint first;       // this dispatch takes tokens [first, first + count) of each run
  uint count;
} arguments;

const uint kThreads = 128u;
const uint kMostStateSize = 1024u;  // staging.h

shared float query[kMostStateSize];
shared float key[kMostStateSize];
shared float partial[2u * kThreads];

void main() {
  const uint self = gl_LocalInvocationID.x;
  const uint head = gl_WorkGroupID.x;
  if (gl_WorkGroupID.y >= run_count(arguments.table)) return;
  const Run run = run_at(arguments.runs, gl_WorkGroupID.y);
  const uint end = min(run.count, arguments.first + arguments.count);
  const uint size = arguments.size;
  const uint heads = arguments.value_heads;
  const uint key_head =
      arguments.tiled != 0u ? head % arguments.key_heads : head / (heads / arguments.key_heads);
  const uint64_t state_bytes = uint64_t(heads) * size * size * 4u;
  const uint64_t own = arguments.states + uint64_t(head) * size * size * 4u;
  Floats after = Floats(own + run.state_after * state_bytes);
  for (uint t = arguments.first; t < end; ++t) {
    const uint token = run.first_token + t;
    Floats row = Floats(arguments.qkv + uint64_t(token) * ((2u * arguments.key_heads + heads) * size) * 4u);
    float of_query = 0.0;
    float of_key = 0.0;
    for (uint i = self; i < size; i += kThreads) {
      query[i] = row.v[key_head * size + i];
      key[i] = row.v[(arguments.key_heads + key_head) * size + i];
      of_query += query[i] * query[i];
      of_key += key[i] * key[i];
    }
    partial[self] = of_query;
    partial[kThreads + self] = of_key;
    barrier();
    float query_squares = 0.0;
    float key_squares = 0.0;
    for (uint i = 0u; i < kThreads; ++i) {
      query_squares += partial[i];
      key_squares += partial[kThreads + i];
    }
    const float query_scale = 1.0 / (max(sqrt(query_squares), arguments.epsilon) * sqrt(float(size)));
    const float key_scale = 1.0 / max(sqrt(key_squares), arguments.epsilon);
    const float beta = 1.0 / (1.0 + exp(-Floats(arguments.beta).v[token * heads + head]));
    const float passed = softplus(Floats(arguments.decay).v[token * heads + head] + Floats(arguments.dt_bias).v[head]);
    const float kept = exp(passed * Floats(arguments.rate).v[head]);
    const bool fresh = t == 0u && run.position == 0u;
    Floats before = Floats(own + (t == 0u ? run.state : run.state_after) * state_bytes);
    for (uint j = self; j < size; j += kThreads) {
      float known = 0.0;
      if (!fresh) {
        for (uint i = 0u; i < size; ++i) known += key[i] * before.v[i * size + j];
      }
      const float change =
          beta * (row.v[(2u * arguments.key_heads + head) * size + j] - known * key_scale * kept) * key_scale;
      float sum = 0.0;
      for (uint i = 0u; i < size; ++i) {
        const float value = (fresh ? 0.0 : before.v[i * size + j] * kept) + key[i] * change;
        after.v[i * size + j] = value;
        sum += query[i] * value;
      }
      Floats(arguments.result).v[(token * heads + head) * size + j] = sum * query_scale;
    }
    barrier();  // before query and key are the next token's
  }
}
