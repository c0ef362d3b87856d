// Steps of layers whose memory is a state for each sequence: short convolutions, the gated delta net, Mamba 2. A
// sequence whose first token is in the batch begins with zeros.
#pragma once

#include <cstdint>

#include "backend/cpu/pass.h"
#include "base/thread_pool.h"

namespace loadline::cpu {

// A layer's states: see TokenRun::state.
struct StateSlots {
  float* first;
  std::uint64_t floats;  // of one

  [[nodiscard]] const float* before(const TokenRun& run) const { return first + run.state * floats; }
  [[nodiscard]] float* after(const TokenRun& run) const { return first + run.state_after * floats; }
};

struct ConvolutionStep {
  StateSlots states;  // [taps - 1][channels]
  Convolution convolution;
  const float* x;  // [tokens][channels]
  float* out;      // likewise, not x
};

// With what the tokens' rows pass through before: keys and queries to the length 1, decay and beta from their logits.
struct DeltaNetStep {
  StateSlots states;
  DeltaNet net;
  float* qkv;         // [tokens][2 * key_heads + value_heads][head_dim]; changed
  float* beta;        // [tokens][value_heads]; changed
  float* decay;       // likewise
  float epsilon;      // of the lengths
  const float* bias;  // [value_heads], of decay
  const float* a;     // [value_heads], what it is multiplied by
  float* out;         // [tokens][value_heads * head_dim]
};
// One token's heads that are to be normalised, and its gates; then DeltaNetStep.
struct DeltaRowsStep {
  DeltaNetStep net;
};

struct Mamba2Step {
  StateSlots states;
  Mamba2 scan;
  const float* xbc;      // [tokens][heads * head_dim + 2 * groups * state_dim]
  float* dt;             // [tokens][heads]; changed
  const float* dt_bias;  // [heads]
  float* out;            // [tokens][heads * head_dim]
};
// dt of all tokens; then Mamba2Step.
struct Mamba2RowsStep {
  Mamba2Step scan;
};

void run(const ConvolutionStep& step, const Pass& pass, WorkQueue& queue);
void run(const DeltaRowsStep& step, const Pass& pass, WorkQueue& queue);
void run(const DeltaNetStep& step, const Pass& pass, WorkQueue& queue);
void run(const Mamba2RowsStep& step, const Pass& pass, WorkQueue& queue);
void run(const Mamba2Step& step, const Pass& pass, WorkQueue& queue);

}  // namespace loadline::cpu
