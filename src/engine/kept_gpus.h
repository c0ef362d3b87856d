// What of the GPUs a change of plan keeps. A GPU that both plans use stays open, with its shaders; where the new plan
// has the same weights on it, at the same places, they stay too.
#pragma once

#include <optional>
#include <vector>

#include "backend/vulkan/kept_gpu.h"
#include "engine/devices.h"
#include "plan/plan.h"

namespace loadline::engine {

bool uses_gpu(const plan::Plan& plan, plan::DeviceIndex device);

// Whether both plans use the GPU of this index, and it is the same one, and did not fail.
bool gpu_stays(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device,
               std::optional<plan::DeviceIndex> failed);

// The regions of the plan after, ascending, that have the same weights at the same places in the memory of a GPU: all
// that it has there, or none.
std::vector<plan::RegionIndex> same_weights(const plan::Plan& before, const plan::Plan& after,
                                            plan::DeviceIndex device);

// The arena with such contents in a device's own memory.
std::optional<std::uint32_t> own_arena(const plan::Plan& plan, plan::DeviceIndex device, plan::Purpose purpose);

// What both have in an arena of theirs is the same, at the same places.
bool same_arena(const plan::Plan& before, std::uint32_t one, const plan::Plan& after, std::uint32_t other);

// Takes from devices that will go what stays: GPUs that both plans use, their weights where those are the same, and, if
// `caches`, the caches of all GPUs. Nothing of the one that failed.
KeptGpus take_gpus(Devices& devices, const plan::Plan& before, const plan::Plan& after,
                   std::optional<plan::DeviceIndex> failed, bool caches);

}  // namespace loadline::engine
