// Device: what a backend offers the executor. One object per device of the plan; it holds that tier's arenas.
// Backends implement it and know nothing of each other; only the engine names them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/batch.h"
#include "base/bytes.h"
#include "plan/plan.h"

namespace loadline::backend {

// Set by anyone (a signal handler too) to end a pass early.
using StopFlag = std::atomic<bool>;

// Stands between a device and weights that come from disk for every pass. A device asks before it computes a group
// whose weights are streamed, and says when it is done with them. Called from the thread that runs the pass.
class WeightGate {
 public:
  virtual ~WeightGate() = default;
  // Blocks until the group's weights are in their regions. False: they will not come (stopped, or a read failed).
  virtual bool acquire(std::uint32_t group, const StopFlag& stop) noexcept = 0;
  virtual void release(std::uint32_t group) noexcept = 0;
};

// Where a device finds weights that another holds for it (plan::PromptStream): rows as they are in the file. Called
// from the thread that runs the pass, between passes of the device that holds them.
class WeightSource {
 public:
  struct Rows {
    plan::RegionIndex region;
    std::uint64_t first_row;  // a multiple of 16
    std::uint64_t rows;       // likewise, unless they are the tensor's last
    std::byte* target;
  };
  virtual ~WeightSource() = default;
  virtual void read(std::span<const Rows> all) noexcept = 0;
};

// Not thread-safe except where said. Calls come in the order: construction (allocates every arena of the tier, exactly
// the plan's bytes, or throws Error), upload of all weights, prepare, then any number of run.
class Device {
 public:
  virtual ~Device() = default;

  // Writes part of a tensor's file bytes, whole rows from `first_row` on, into its region, laid out as the plan says.
  // `first_row` is a multiple of 16, and so is the count of rows unless they are the tensor's last.
  // Several threads may upload different rows at once. Throws Error(DeviceFailure).
  virtual void upload(plan::RegionIndex region, std::uint64_t first_row, std::uint64_t rows,
                      std::span<const std::byte> data) = 0;

  // Records the schedule of each stage. After this nothing allocates.
  virtual void prepare() = 0;

  // Runs one stage of the plan over the batch, which is one of those that plan::stages_for names for its size. The
  // values it begins with (plan::crossing_values) were left there by the stage before, or written through `crossing`.
  // False if `stop` was set meanwhile or the gate brought no weights; the results are then meaningless, as they are
  // after an Error(DeviceFailure).
  virtual bool run(std::uint32_t stage, const Batch& batch, const StopFlag& stop) = 0;

  // Host-visible memory for [rows][width] floats of a value that crosses between devices: where it is put before a
  // stage that begins with it and follows one of another device, and found after one that such a stage follows. It may
  // be the value itself.
  virtual float* crossing(model::ValueId value) = 0;
  // [outputs][vocabulary] floats, after the stage that holds the output group.
  virtual const float* logits() = 0;

  // Bytes this device really holds, by the system's or driver's own account of its arenas.
  [[nodiscard]] virtual Bytes allocated() const = 0;
};

}  // namespace loadline::backend
