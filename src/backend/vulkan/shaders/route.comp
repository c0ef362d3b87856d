// Chooses experts: a workgroup for each token. See model::ops::Route.
// RouteArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform RouteArguments {
  uint64_t logits;       // [..][experts] floats
  uint64_t result;       // [..][used] of: the expert, its weight
  uint64_t choice_bias;  // [experts] floats, or 0
  uint64_t table;        // the pass
  uint experts;
  uint used;
  uint gating;           // model::ops::Gating
  uint groups;
  uint groups_used;
  uint normalize;
  float scale;
  uint selected;         // rows are the outputs of the pass
} arguments;

const uint kSoftmax = 0u;
const uint kSigmoid = 1u;
const uint kSoftmaxOfChosen = 2u;
const uint kSigmoidOfChosen = 3u;
const uint kSqrtSoftplus = 4u;

const uint kThreads = 64u;
const uint kMostExperts = 1024u;
const float kNone = -3.0e38;  // below every score: of what is chosen already, or in a group that is not

shared float chances[kMostExperts];
shared float scores[kMostExperts];
shared float of_group[kMostExperts];
shared float best[kThreads];
shared uint best_at[kThreads];

// The largest, and the first of those that are as large. `all` afterwards has the same for every invocation.
void find_best(bool groups, uint count) {
  const uint self = gl_LocalInvocationID.x;
  float highest = -3.3e38;
  uint at = 0u;
  for (uint i = self; i < count; i += kThreads) {
    const float score = groups ? of_group[i] : scores[i];
    if (score > highest) {
      highest = score;
      at = i;
    }
  }
  best[self] = highest;
  best_at[self] = at;
  barrier();
  for (uint half_of = kThreads / 2u; half_of > 0u; half_of /= 2u) {
    if (self < half_of) {
      const float other = best[self + half_of];
      const uint other_at = best_at[self + half_of];
      if (other > best[self] || (other == best[self] && other_at < best_at[self])) {
        best[self] = other;
        best_at[self] = other_at;
      }
    }
    barrier();
  }
}

float chance(float logit) {
  if (arguments.gating == kSigmoid) return 1.0 / (1.0 + exp(-logit));
  // ln(1 + exp(x)), without the overflow.
  if (arguments.gating == kSqrtSoftplus) return sqrt(max(logit, 0.0) + log(1.0 + exp(-abs(logit))));
  return logit;
}

void keep_groups() {
  const uint each = arguments.experts / arguments.groups;
  for (uint g = gl_LocalInvocationID.x; g < arguments.groups; g += kThreads) {
    float first = kNone;
    float second = kNone;
    for (uint e = g * each; e < (g + 1u) * each; ++e) {
      const float score = scores[e];
      second = max(second, min(first, score));
      first = max(first, score);
    }
    of_group[g] = first + (each > 1u ? second : 0.0);
  }
  barrier();
  // What is kept is marked by becoming the least of all.
  for (uint i = 0u; i < arguments.groups_used; ++i) {
    find_best(true, arguments.groups);
    if (gl_LocalInvocationID.x == 0u) of_group[best_at[0]] = -3.2e38;
    barrier();
  }
  for (uint e = gl_LocalInvocationID.x; e < arguments.experts; e += kThreads) {
    if (of_group[e / each] > -3.1e38) scores[e] = kNone;
  }
  barrier();
}

void main() {
  const uint row = gl_WorkGroupID.x;
  const uint self = gl_LocalInvocationID.x;
  const uint experts = arguments.experts;
  if (row >= pass_rows(arguments.table, arguments.selected != 0u)) return;
  for (uint e = self; e < experts; e += kThreads) {
    chances[e] = chance(Floats(arguments.logits).v[row * experts + e]);
    scores[e] = chances[e];
  }
  barrier();
  if (arguments.gating == kSoftmax) {
    find_best(false, experts);
    const float highest = best[0];
    barrier();
    float sum = 0.0;
    for (uint e = self; e < experts; e += kThreads) {
      chances[e] = exp(chances[e] - highest);
      sum += chances[e];
    }
    best[self] = sum;
    barrier();
    float total = 0.0;
    for (uint i = 0u; i < kThreads; ++i) total += best[i];
    barrier();
    for (uint e = self; e < experts; e += kThreads) {
      chances[e] /= total;
      scores[e] = chances[e];
    }
  }
  if (arguments.choice_bias != 0ul) {
    for (uint e = self; e < experts; e += kThreads) scores[e] += Floats(arguments.choice_bias).v[e];
  }
  barrier();
  if (arguments.groups > 1u) keep_groups();

  const uint at = row * arguments.used * 2u;
  for (uint i = 0u; i < arguments.used; ++i) {
    find_best(false, experts);
    if (self == 0u) {
      Words(arguments.result).v[at + 2u * i] = best_at[0];
      of_group[i] = chances[best_at[0]];  // of those chosen
      scores[best_at[0]] = -3.2e38;
    }
    barrier();
  }
  if (self != 0u) return;
  float sum = 0.0;
  const float first = of_group[0];  // the largest logit, where nothing but logits chose
  for (uint i = 0u; i < arguments.used; ++i) {
    if (arguments.gating == kSoftmaxOfChosen) of_group[i] = exp(of_group[i] - first);
    if (arguments.gating == kSigmoidOfChosen) of_group[i] = 1.0 / (1.0 + exp(-of_group[i]));
    sum += of_group[i];
  }
  if (arguments.gating == kSoftmaxOfChosen) {
    for (uint i = 0u; i < arguments.used; ++i) of_group[i] /= sum;
    sum = 1.0;
  }
  const float divisor = arguments.normalize != 0u ? max(sum, 6.1035e-5) : 1.0;
  for (uint i = 0u; i < arguments.used; ++i) {
    Floats(arguments.result).v[at + 2u * i + 1u] = of_group[i] / divisor * arguments.scale;
  }
}
