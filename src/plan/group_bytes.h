// What groups take of a device's memory for weights and caches, before and after arenas are rounded up.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "model/program.h"
#include "plan/needs_table.h"
#include "plan/plan.h"

namespace loadline::plan {

struct GroupBytes {
  Bytes weights, caches;

  [[nodiscard]] Bytes total() const { return weights + caches; }
};

// Of one group that the device can run: its regions, each aligned. `kv_on_cpu`: its cache is not in the device's
// memory.
GroupBytes group_bytes(const NeedsTable& needs, DeviceIndex device, std::size_t group, bool kv_on_cpu);

// What a layer's arenas on a GPU are rounded up by, counted with its first group: nothing of others. Likewise where a
// group is in no layer.
Bytes layer_rounding(const model::Program& program, std::size_t group,
                     const std::function<GroupBytes(std::size_t)>& bytes_of);

// Whether the device has the other part of the group's layer. `assignment`: per group the device.
bool has_other_part(const model::Program& program, std::span<const DeviceIndex> assignment, std::size_t group,
                    DeviceIndex device);

}  // namespace loadline::plan
