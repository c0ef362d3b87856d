// What every part of a program needs on every kind of device of a machine, asked of the backends once for a shape. And
// what a device needs for several parts together: buffers that are never used at the same time share bytes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "plan/liveness.h"
#include "plan/lowering.h"

namespace loadline::plan {

// Alignment of regions: a cache line on the CPU; on a GPU what every device's buffer offsets accept.
constexpr Bytes region_alignment(DeviceIndex device) { return Bytes(device == kCpu ? 64 : 256); }

// Which buffers a device needs, and where each lies in its scratch arena.
struct ScratchLayout {
  std::vector<Buffer> buffers;
  Bytes total;
  // Indices into `buffers`; -1 where the device needs none.
  std::vector<std::int32_t> slots;  // per Slot
  std::int32_t load_buffer = -1;
};

// What of a group a device runs: of an attention whose projections pass through it, all but cache_ops.
enum class Runs : std::uint8_t { Nothing, Projections, All };

// The parts of a group that Runs stands for.
std::vector<Part> parts_of(const model::Program& program, std::uint32_t group, Runs runs);

// The parts of a stage, one for each group of it.
std::vector<Part> parts_of(const Stage& stage);

// Keeps what it was asked; one thread uses it. Refers to the task's parts and the backends, which must outlive it.
class NeedsTable {
 public:
  // Throws the backend's Error where a group can run on no device at all.
  NeedsTable(const gguf::Model& model, const model::Program& program, const Shape& shape, const Backends& backends,
             std::size_t devices);

  [[nodiscard]] const Lowering& backend(DeviceIndex device) const { return backends_.of(device); }
  [[nodiscard]] LoweringTask task() const { return {model_, program_, shape_}; }

  // False where the device's backend cannot run the group; why_not is then its sentence.
  [[nodiscard]] bool can_run(DeviceIndex device, std::size_t group) const;
  [[nodiscard]] const std::string& why_not(DeviceIndex device, std::size_t group) const;
  // Of a whole group. The device can run it.
  [[nodiscard]] const Needs& of(DeviceIndex device, std::size_t group) const;

  // `runs[g]`: what the device runs of group g. `load_buffer` bytes (zero: none) overlap everything, since nothing else
  // is used while the model is loaded.
  [[nodiscard]] const ScratchLayout& scratch(DeviceIndex device, const std::vector<Runs>& runs,
                                             Bytes load_buffer) const;

 private:
  // One group on one kind of device.
  struct Entry {
    Needs needs;
    std::string why_not;                       // empty: it can
    std::uint32_t structure = 0;               // groups whose buffers are the same have the same number
    std::optional<std::uint32_t> projections;  // the structure of those alone, once asked for
  };
  struct Kind {
    const Lowering* backend;
    std::vector<Entry> groups;
    std::map<std::vector<std::uint64_t>, ScratchLayout> scratch;
  };
  // What a group's parts use, one after the other.
  struct Structure {
    std::uint32_t steps = 0;
    std::vector<BufferNeed> buffers;
    bool operator==(const Structure&) const = default;
  };

  [[nodiscard]] Kind& kind(DeviceIndex device) const { return kinds_[kind_of_[device]]; }
  [[nodiscard]] std::uint32_t intern(Structure structure) const;
  [[nodiscard]] std::uint32_t structure_of(const Kind& kind, Entry& entry, std::uint32_t group, Runs runs) const;
  [[nodiscard]] ScratchLayout lay_out(const Kind& kind, DeviceIndex device,
                                      const std::vector<std::uint32_t>& structures, Bytes load_buffer) const;

  const gguf::Model& model_;
  const model::Program& program_;
  const Shape& shape_;
  const Backends& backends_;
  std::vector<std::size_t> kind_of_;  // per device
  mutable std::vector<Kind> kinds_;
  mutable std::vector<Structure> structures_;
};

}  // namespace loadline::plan
