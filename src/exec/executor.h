// The batch executor: runs the stages of a plan over batches of tokens from several sequences, and keeps their KV
// cache. It moves the hidden state between devices; what happens inside a device is the device's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/device.h"
#include "exec/kv_cache.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::exec {

using backend::Rounding;
using backend::StopFlag;

// Which rows of logits are wanted from an input.
enum class Want : std::uint8_t { None, Last, All };

// Tokens to add to a sequence, from its present length on.
struct Input {
  std::uint32_t sequence;
  std::span<const std::int32_t> tokens;
  Want want;
};

// Owns the bookkeeping, not the devices. Allocates only when constructed. Not thread-safe; `stop` may be set by anyone.
class Executor {
 public:
  // `devices` has an entry per device of the plan, null where the plan has no stage there. `rope_factors` is the
  // content of rope_freqs.weight, or empty.
  Executor(const model::Program& program, const plan::Plan& plan, std::vector<backend::Device*> devices,
           std::span<const float> rope_factors);

  // One pass. All inputs together hold at most shape.batch tokens and want at most shape.outputs rows; each sequence
  // appears once. Throws Error(BadInput) for a token outside the vocabulary or a sequence without room, before anything
  // has changed, and what a device throws. False if stopped. After both every sequence is as it was before.
  bool forward(std::span<const Input> inputs, const StopFlag& stop, Rounding rounding = Rounding::Fastest);

  // Row `index` of the logits of the last pass, in the order of the inputs.
  [[nodiscard]] std::span<const float> logits(std::size_t index) const;
  [[nodiscard]] std::size_t logits_rows() const { return outputs_.size(); }

  // Seconds that the device has spent on its stages so far, what it waited for inside them included. They take turns.
  [[nodiscard]] double busy_seconds(plan::DeviceIndex device) const { return busy_seconds_[device]; }

  [[nodiscard]] const KvCache& cache() const { return cache_; }
  void truncate(std::uint32_t sequence, std::uint32_t length) { cache_.truncate(sequence, length); }

 private:
  void check(std::span<const Input> inputs) const;
  void assemble(std::span<const Input> inputs);
  bool run_stages(const StopFlag& stop, Rounding rounding);

  const model::Program& program_;
  const plan::Plan& plan_;
  std::vector<backend::Device*> devices_;
  std::vector<double> busy_seconds_;  // per device
  KvCache cache_;
  std::vector<float> frequencies_;
  // The batch of the current pass; capacities are the plan's.
  std::vector<std::int32_t> tokens_;
  std::vector<backend::TokenRun> runs_;
  std::vector<std::uint32_t> outputs_;
  std::vector<float> cosines_;
  std::vector<float> sines_;
};

}  // namespace loadline::exec
