// Steps that work on the rows of values, one by one: norms, activations and sums that go with no product, copies, rope.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "backend/cpu/pass.h"
#include "base/thread_pool.h"

namespace loadline::cpu {

// Normalises `parts` runs of `part` values of each row, the first at `offset`.
struct NormStep {
  const float* x;  // [rows][width]
  float* out;      // likewise; may be x
  std::uint64_t width;
  std::uint32_t part;
  std::uint32_t parts;
  std::uint32_t offset;
  Norm norm;
  bool weight_per_part;  // weight and bias go on from part to part, else they begin anew
  bool after_select;
};

// out[i] = what `kind` says, value by value.
struct MapStep {
  enum class Kind : std::uint8_t {
    Activate,   // f(a)
    Gate,       // f(b) * a
    GateByRow,  // f(b) * a with one b for each row
    AddScaled,  // a + factor * b
    Scale,      // a * factor (* tensor[0])
    Clamp,      // a, no further from 0 than factor
    AddVector,  // a + tensor, which has a value for each column
  };
  Kind kind;
  const float* a;  // [rows][width]
  const float* b;  // likewise, or null
  float* out;      // likewise; may be a or b
  std::uint64_t width;
  Activation function;
  float factor;
  const float* tensor;  // or null
  bool after_select;
};

// x is [rows][repeats][sum of widths]; out[i] its [rows][repeats][widths[i]].
struct SplitStep {
  const float* x;
  std::uint32_t repeats;
  std::vector<std::uint32_t> widths;
  std::vector<float*> outs;  // as many
  bool after_select;
};

// Rotates dimensions [offset, offset + rotary) of each head, in place.
struct RopeStep {
  float* x;  // [tokens][heads * head_dim]
  std::uint32_t heads;
  std::uint32_t head_dim;
  std::uint32_t offset;
  std::uint32_t rotary;
  std::uint32_t table;  // of the program's
  bool neox;
};

void run(const NormStep& step, const Pass& pass, WorkQueue& queue, int thread);
void run(const MapStep& step, const Pass& pass, WorkQueue& queue, int thread);
void run(const SplitStep& step, const Pass& pass, WorkQueue& queue);
void run(const RopeStep& step, const Pass& pass, WorkQueue& queue);

}  // namespace loadline::cpu
