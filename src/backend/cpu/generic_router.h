// The choice of a token's experts, written once over the primitives of an instruction set. Internal linkage.
#pragma once

#include <cstdint>

#include "backend/cpu/generic_norms.h"

namespace loadline::cpu {
namespace {

// Where no expert is to be chosen any more.
constexpr float kNever = -3e38F;

// The place of the largest of `count`, the first of equal ones.
LOADLINE_INLINE std::uint32_t place_of_largest(const float* x, std::uint32_t count) {
  std::uint32_t place = 0;
  float most = -__builtin_inff();
  for (std::uint32_t i = 0; i < count; ++i) {
    if (x[i] > most) {
      most = x[i];
      place = i;
    }
  }
  return place;
}

// x[i] = exp(x[i] - largest), divided by their sum.
LOADLINE_INLINE void softmax(float* x, std::uint32_t count) {
  float most = x[0];
  for (std::uint32_t i = 1; i < count; ++i) most = x[i] > most ? x[i] : most;
  map(x, x, count, [&](F v) __attribute__((always_inline)) { return exponential(V::sub(v, V::set(most))); });
  const float sum = sum_of(x, count, 0.0F, [](F v) __attribute__((always_inline)) { return v; });
  scale(x, 1.0F / sum, count);
}

// Leaves only the experts of the best groups in the running.
LOADLINE_INLINE void keep_groups(const Routing& routing, float* scores) {
  const std::uint32_t size = routing.experts / routing.groups;
  float sums[kMaxExperts];
  for (std::uint32_t g = 0; g < routing.groups; ++g) {
    float best = kNever;
    float second = kNever;
    for (std::uint32_t i = g * size; i < (g + 1) * size; ++i) {
      if (scores[i] > best) {
        second = best;
        best = scores[i];
      } else if (scores[i] > second) {
        second = scores[i];
      }
    }
    sums[g] = size > 1 ? best + second : best;
  }
  bool kept[kMaxExperts] = {};
  for (std::uint32_t i = 0; i < routing.groups_used; ++i) {
    const std::uint32_t g = place_of_largest(sums, routing.groups);
    kept[g] = true;
    sums[g] = -__builtin_inff();
  }
  for (std::uint32_t i = 0; i < routing.experts; ++i) {
    if (!kept[i / size]) scores[i] = kNever;
  }
}

void route(const Routing& routing, const float* logits, std::uint32_t* chosen, float* weights) {
  using Gating = Routing::Gating;
  const std::uint32_t experts = routing.experts;
  alignas(64) float chances[kMaxExperts];
  alignas(64) float scores[kMaxExperts];
  std::memcpy(chances, logits, experts * sizeof(float));
  switch (routing.gating) {
    case Gating::Softmax: softmax(chances, experts); break;
    case Gating::Sigmoid:
      map(chances, chances, experts, [](F v) __attribute__((always_inline)) { return sigmoid(v); });
      break;
    case Gating::SqrtSoftplus:
      for (std::uint32_t i = 0; i < experts; ++i) {
        const float x = logits[i];
        chances[i] = __builtin_sqrtf(x > 20.0F ? x : __builtin_log1pf(__builtin_expf(x)));
      }
      break;
    case Gating::SoftmaxOfChosen:
    case Gating::SigmoidOfChosen: break;
  }
  std::memcpy(scores, chances, experts * sizeof(float));
  if (routing.choice_bias != nullptr) add_scaled(scores, routing.choice_bias, 1.0F, experts);
  for (std::uint32_t i = 0; i < experts; ++i) {  // so that no expert is chosen twice, whatever came
    if (!(scores[i] > kNever)) scores[i] = kNever;
  }
  if (routing.groups > 1) keep_groups(routing, scores);
  for (std::uint32_t i = 0; i < routing.used; ++i) {
    const std::uint32_t best = place_of_largest(scores, experts);
    chosen[i] = best;
    weights[i] = chances[best];
    scores[best] = -__builtin_inff();
  }
  if (routing.gating == Gating::SoftmaxOfChosen) softmax(weights, routing.used);
  if (routing.gating == Gating::SigmoidOfChosen) {
    map(weights, weights, routing.used, [](F v) __attribute__((always_inline)) { return sigmoid(v); });
  }
  float factor = routing.scale;
  if (routing.normalise) {
    float sum = 0;
    for (std::uint32_t i = 0; i < routing.used; ++i) sum += weights[i];
    factor /= sum > kLeastWeightSum ? sum : kLeastWeightSum;
  }
  for (std::uint32_t i = 0; i < routing.used; ++i) weights[i] *= factor;
}

}  // namespace
}  // namespace loadline::cpu
