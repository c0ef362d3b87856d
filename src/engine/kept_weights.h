// Which weights a change of plan leaves where they are: in RAM those that lie there by both plans, in the same order,
// which are moved within their memory, and those that lie on a GPU by both (kept_gpus.h). They are not read again.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "backend/cpu/cpu_device.h"
#include "engine/devices.h"
#include "engine/kept_gpus.h"
#include "plan/plan.h"

namespace loadline::engine {

struct KeptWeights {
  // The regions of the plan after, ascending: what need not be read.
  [[nodiscard]] std::vector<plan::RegionIndex> there() const;
  [[nodiscard]] Bytes bytes() const;
  // What is still to be read into a tier of the plan after.
  [[nodiscard]] Bytes missing(const plan::Plan& after, std::uint32_t tier) const;
  void forget_gpus();

  std::vector<KeptRegion> regions;         // in RAM, in the order in which they lie
  std::vector<WeightsOnGpu> gpus;          // by device
  std::vector<plan::RegionIndex> on_gpus;  // the regions of the plan after
  std::vector<Bytes> by_tier;              // of the plan after: the regions' sizes
};
// Both plans are of the same model. Nothing is kept on `failed`, a GPU.
KeptWeights kept_weights(const plan::Plan& before, const plan::Plan& after, std::optional<plan::DeviceIndex> failed);

// What the devices hold in RAM of weights, and of caches where those stay, so that they may go. Without any memory
// where nothing is to be kept.
cpu::KeptArenas take_arenas(Devices& devices, const KeptWeights& kept, bool caches_stay);
// Moves what is kept in RAM from where `before` has it to where `after` does. At no time is more held than by the
// larger of the two. Where the system refuses, `arena` has no memory then, and in RAM nothing is kept.
void move_weights(cpu::HostArena& arena, const plan::Plan& before, const plan::Plan& after, KeptWeights& kept);

// The same of any regions, in the order in which they lie by both plans, of an arena that becomes `wanted`. False, or
// Error, where the system refuses.
bool move_within(cpu::HostArena& arena, const plan::Plan& before, const plan::Plan& after,
                 std::span<const KeptRegion> regions, const plan::Arena& wanted);

}  // namespace loadline::engine
