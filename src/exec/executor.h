// The batch executor: runs the stages of a plan over batches of tokens from several sequences, and keeps their KV
// cache. It moves the hidden state and what else lives across groups between devices; what happens inside a device is
// the device's.
//
// Passes of many tokens, of which only the last half wants logits, go as two halves where the plan has more than one
// device: while one device runs a stage for the first half, another runs the stage before for the second. A stage sees
// the first half before the second, and so the cache is written in order; every device is asked for one stage at a
// time.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "backend/device.h"
#include "base/thread_pool.h"
#include "exec/kv_cache.h"
#include "exec/pass_log.h"
#include "exec/rope_angles.h"
#include "model/program.h"
#include "plan/crossing.h"
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

// A pass of fewer tokens is not halved: its halves would be multiplied less efficiently than is gained.
inline constexpr std::uint32_t kOverlapFrom = 128;

// Owns the bookkeeping, not the devices. Allocates only when constructed. Not thread-safe; `stop` may be set by anyone.
class Executor final : public PageCopier {
 public:
  // `devices` has an entry per device of the plan, null where the plan has no stage there. `rope_factors`:
  // see RopeAngles. `gate`: where weights come from disk for every pass, who brings them; may
  // be null. `overlap_from`: passes of at least so many tokens are halved. `cache`: what `give_cache` gave, where the
  // devices have what its pages held.
  Executor(const model::Program& program, const plan::Plan& plan, std::vector<backend::Device*> devices,
           std::span<const std::vector<float>> rope_factors, backend::WeightGate* gate = nullptr,
           std::uint32_t overlap_from = kOverlapFrom, std::optional<KvCache> cache = std::nullopt);

  // One pass. All inputs together hold at most shape.batch tokens and want at most shape.outputs rows; each sequence
  // appears once. Throws, before anything has changed, Error(BadInput) for a token outside the vocabulary or a sequence
  // without room and Error(Internal) for inputs that are no pass of this plan; and what a device or the gate throws.
  // False if stopped. After all of these every sequence is as it was before.
  bool forward(std::span<const Input> inputs, const StopFlag& stop, Rounding rounding = Rounding::Fastest);

  // Row `index` of the logits of the last pass, in the order of the inputs. Throws Error(Internal) where there is none.
  [[nodiscard]] std::span<const float> logits(std::size_t index) const;
  [[nodiscard]] std::size_t logits_rows() const { return rows_; }
  // What that row was made from: the state behind the last layer, normed. [embedding]
  [[nodiscard]] std::span<const float> state(std::size_t index) const;
  // Whose stage threw last, if one did.
  [[nodiscard]] std::optional<plan::DeviceIndex> failed_device() const {
    const plan::DeviceIndex device = failed_device_;
    return device == kNoDevice ? std::nullopt : std::optional(device);
  }
  // Passes that went as two halves.
  [[nodiscard]] std::size_t overlapped_passes() const { return overlapped_passes_; }

  // Seconds that the device has spent on its stages so far, what it waited for inside them included. Devices take turns
  // but where passes are halved.
  [[nodiscard]] double busy_seconds(plan::DeviceIndex device) const { return busy_seconds_.at(device); }
  // Of each pass, for whoever compares them with predictions; may be read by any thread.
  [[nodiscard]] const PassLog& log() const { return log_; }

  [[nodiscard]] const plan::Plan& plan() const { return plan_; }
  [[nodiscard]] std::uint32_t vocabulary() const { return program_.config.vocabulary; }
  [[nodiscard]] KvCache& cache() { return cache_; }
  [[nodiscard]] const KvCache& cache() const { return cache_; }
  // For another executor, of a plan that has as many pages, windows, states and sequences. This one can then only go.
  [[nodiscard]] KvCache give_cache() { return std::move(cache_); }
  void truncate(std::uint32_t sequence, std::uint32_t length) { cache_.cut(sequence, length); }

  bool copy_page(PageIndex from, PageIndex to) override;
  bool copy_window_page(PageIndex from, PageIndex to) override;

 private:
  // Consecutive tokens of an input in a pass, or in half of one.
  struct Part {
    std::size_t input;
    std::uint32_t first;  // of the input's tokens
    std::uint32_t count;
    Want want;
  };
  // The batch of a pass, or of half of one; capacities are the plan's.
  struct Pass {
    std::vector<Part> parts;
    std::vector<std::int32_t> tokens;
    std::vector<backend::TokenRun> runs;
    std::vector<backend::TokenRun> window_runs;
    std::vector<std::uint32_t> outputs;
    RopeAngles angles;
    bool ok = true;  // the stage that ran last was not stopped
    std::exception_ptr error = nullptr;
  };

  [[nodiscard]] Pass make_pass(std::span<const std::vector<float>> rope_factors) const;
  [[nodiscard]] bool can_overlap() const;
  void find_arrivals();
  void check(std::span<const Input> inputs);
  void find_cells(std::span<const Input> inputs);
  void give_back(std::span<const Input> inputs);
  [[nodiscard]] bool divide(std::span<const Input> inputs);
  void assemble(std::span<const Input> inputs, Pass& pass);
  [[nodiscard]] PassRecord describe(std::span<const Input> inputs) const;
  void complete(PassRecord& pass) const;
  bool run_logged(std::span<const Input> inputs, bool halves, const StopFlag& stop, Rounding rounding);
  bool run_pass(bool halves, const StopFlag& stop, Rounding rounding);
  bool run_stages(const StopFlag& stop, Rounding rounding);
  bool run_halves(const StopFlag& stop, Rounding rounding);
  bool run_stage(std::uint32_t stage, const Pass& pass, const StopFlag& stop, Rounding rounding);
  [[nodiscard]] std::size_t hidden_rows(std::uint32_t stage, const Pass& pass) const;
  void hand_over(std::uint32_t stage, const Pass& pass);
  [[nodiscard]] backend::Device& device_of(std::uint32_t stage) const { return *devices_[plan_.stages[stage].device]; }

  const model::Program& program_;
  const plan::Plan& plan_;
  std::vector<backend::Device*> devices_;
  backend::WeightGate* gate_;
  std::vector<double> busy_seconds_;                          // per device
  std::vector<std::vector<plan::CarriedCrossing>> arrivals_;  // per stage: what comes to it from stages before
  KvCache cache_;
  const std::uint32_t overlap_from_;
  std::vector<std::uint32_t> before_;  // per input of the pass: its sequence's length before
  std::vector<std::uint64_t> seen_;    // per sequence: the last pass that had an input for it
  std::uint64_t number_ = 0;           // of the pass
  std::size_t rows_ = 0;               // of logits that there are
  std::vector<Pass> passes_;           // one, and where passes may be halved a second
  std::optional<ThreadPool> two_;      // the thread that calls and one more, where passes may be halved
  std::size_t overlapped_passes_ = 0;
  static constexpr plan::DeviceIndex kNoDevice = 0xFFFFFFFFU;
  std::atomic<plan::DeviceIndex> failed_device_{kNoDevice};  // the halves of a pass may both write it
  PassLog log_;
};

}  // namespace loadline::exec
