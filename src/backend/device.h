// Device: what a backend offers the executor. One object per device of the plan; it holds that tier's arenas.
// Backends implement it and know nothing of each other; only the engine names them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

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
  // Before each pass; the one before may not have been completed. Throws Error where the weights cannot be read any
  // more.
  virtual void begin_pass() = 0;
  // Throws the Error that made `acquire` return false, if one did.
  virtual void rethrow() = 0;
  // Blocks until the group's weights are in their regions. False: they will not come (stopped, or a read failed).
  virtual bool acquire(std::uint32_t group, const StopFlag& stop) noexcept = 0;
  virtual void release(std::uint32_t group) noexcept = 0;
  // Seconds that `acquire` has blocked so far.
  [[nodiscard]] virtual double waited_seconds() const { return 0; }
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

// What a device can do at most, measured.
struct Peaks {
  double read_bandwidth = 0;  // bytes/s of the device's memory
  double float_ops = 0;       // float32 operations/s, a multiply-add counts two
};

// What the driver says of the device's memory: how much of it this process may use, and how much it uses.
struct MemoryUse {
  Bytes budget;
  Bytes used;
};

// Not thread-safe except where said. Calls come in the order: construction (allocates every arena of the tier, exactly
// the plan's bytes, or throws Error), upload of all weights, populate, prepare, set_gate where the plan streams
// weights, then any number of run.
class Device {
 public:
  virtual ~Device() = default;

  // Writes part of a tensor's file bytes, whole rows from `first_row` on, into its region, laid out as the plan says.
  // `first_row` is a multiple of 16, and so is the count of rows unless they are the tensor's last.
  // Several threads may upload different rows at once. Throws Error(DeviceFailure).
  virtual void upload(plan::RegionIndex region, std::uint64_t first_row, std::uint64_t rows,
                      std::span<const std::byte> data) = 0;

  // Brings in what memory the uploads have not: from here on no page is new. Ends early where `stop` is set; the device
  // is then good for nothing but destruction. Throws Error(DoesNotFit) where the system has no more memory.
  virtual void populate(const StopFlag& /*stop*/) {}

  // Records the schedule of each stage. After this nothing allocates.
  virtual void prepare() = 0;
  // What making shaders took of that, s: another device on hardware that stays open does not make them again.
  [[nodiscard]] virtual double shader_seconds() const { return 0; }

  // Who brings the weights that come from disk for every pass.
  virtual void set_gate(WeightGate* /*gate*/) {}

  // Runs one stage of the plan over the batch, which is one of those that plan::stages_for names for its size. The
  // values it begins with (plan::crossing_values) were left there by the stage before, or written through `crossing`.
  // False if `stop` was set meanwhile or the gate brought no weights; the results are then meaningless, as they are
  // after an Error(DeviceFailure).
  virtual bool run(std::uint32_t stage, const Batch& batch, const StopFlag& stop) = 0;

  // Host-visible memory for [rows][width] floats of a value that crosses between devices: where it is put before a
  // stage that begins with it and follows one of another device, and found after one that such a stage follows. It may
  // be the value itself.
  virtual float* crossing(model::ValueId value) = 0;
  // Copies what page `from` of the KV cache holds, in every layer that the device has, to page `to`. Between passes.
  // False where the device cannot; pages are then shared whole or not at all.
  virtual bool copy_page(std::uint32_t /*from*/, std::uint32_t /*to*/) { return false; }
  // The same of the caches that keep the last positions only. True where the device has none.
  virtual bool copy_window_page(std::uint32_t /*from*/, std::uint32_t /*to*/) { return true; }

  // [outputs][vocabulary] floats, after the stage that holds the output group.
  virtual const float* logits() = 0;
  // [outputs][width of Program::normed] floats, likewise.
  virtual const float* states() = 0;

  // Bytes this device really holds, by the system's or driver's own account of its arenas.
  [[nodiscard]] virtual Bytes allocated() const = 0;
  // Its memory is RAM, though the plan has it as a GPU's: a GPU that is software.
  [[nodiscard]] virtual bool holds_ram() const { return false; }
  // Where the host may write to a region of the plan; empty where it may not.
  [[nodiscard]] virtual std::span<std::byte> host_memory(plan::RegionIndex /*region*/) { return {}; }
  // The memory that holds its weights, where the host may read it; else empty.
  [[nodiscard]] virtual std::span<const std::byte> weights() const { return {}; }
  // What a user should know of the device, in a sentence; mostly empty. After `prepare`.
  [[nodiscard]] virtual std::string remark() const { return {}; }
  // Asked at any time, by any thread; nullopt where the driver cannot tell.
  [[nodiscard]] virtual std::optional<MemoryUse> memory_use() const { return std::nullopt; }
  // "0000:01:00.0": where the system knows it by that; else empty.
  [[nodiscard]] virtual std::string bus_address() const { return {}; }
  // Over the weights that it holds, between passes; zeros where the device does not measure itself. Throws
  // Error(DeviceFailure).
  virtual Peaks measure() { return {}; }
};

}  // namespace loadline::backend
