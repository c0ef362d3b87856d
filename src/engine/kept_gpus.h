// What of the GPUs a change of plan keeps. A GPU that both plans use stays open, with its shaders. The weights that
// both have on it stay there: arenas (a layer's, plan/plan.h) that are the same in both stay where they are, and of the
// others what both have is copied within the GPU.
#pragma once

#include <optional>
#include <vector>

#include "backend/vulkan/kept_gpu.h"
#include "engine/devices.h"
#include "plan/plan.h"

namespace loadline::engine {

struct KeptRegion {
  plan::RegionIndex before = plan::kNoRegion;
  plan::RegionIndex after = plan::kNoRegion;
};

bool uses_gpu(const plan::Plan& plan, plan::DeviceIndex device);

// Whether both plans use the GPU of this index, and it is the same one, and did not fail.
bool gpu_stays(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device,
               std::optional<plan::DeviceIndex> failed);

// The arenas with such contents in a device's own memory, ascending.
std::vector<std::uint32_t> own_arenas(const plan::Plan& plan, plan::DeviceIndex device, plan::Purpose purpose);
// The CPU's one.
std::optional<std::uint32_t> ram_arena(const plan::Plan& plan, plan::Purpose purpose);

// An arena in a GPU's own memory by two plans: it has the same size by both, with the same at the same places.
struct SameArena {
  std::uint32_t before, after;
};
std::vector<SameArena> same_arenas(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device,
                                   plan::Purpose purpose);

// Of the weights that both plans have on a GPU, what is kept there. At no time is more held than by the larger of the
// two plans, also while the caches of both are there.
struct WeightsOnGpu {
  // What the GPU holds of weights once they are kept.
  [[nodiscard]] Bytes arenas(const plan::Plan& after) const;
  // The regions of the plan after.
  void append_regions(const plan::Plan& after, std::vector<plan::RegionIndex>& regions) const;

  std::vector<SameArena> stay;
  std::vector<KeptRegion> copied;  // those of an arena of the plan after together, in the order in which it is done
};
// `device` stays (gpu_stays).
WeightsOnGpu weights_on_gpu(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device);

// Takes from devices that will go what stays: GPUs that both plans use, what `weights`, by device, says of theirs, and,
// if `caches`, the caches of all GPUs. Nothing of the one that failed.
KeptGpus take_gpus(Devices& devices, const plan::Plan& before, const plan::Plan& after,
                   const std::vector<WeightsOnGpu>& weights, std::optional<plan::DeviceIndex> failed, bool caches);

// Once the devices are gone: the weights that are kept become those of the plan after, and what they were copied out of
// is given back. Throws Error(DeviceFailure): nothing is then to be believed of what GPUs hold.
void keep_weights(const plan::Plan& before, const plan::Plan& after, const std::vector<WeightsOnGpu>& weights,
                  KeptGpus& gpus);

}  // namespace loadline::engine
