// Which weights a change of plan leaves in RAM: those that lie there by both plans, in the same order. They are moved
// within their memory, and are not read again. What is on GPUs is loaded anew.
#pragma once

#include <vector>

#include "backend/cpu/cpu_device.h"
#include "engine/devices.h"
#include "plan/plan.h"

namespace loadline::engine {

struct KeptRegion {
  plan::RegionIndex before = plan::kNoRegion;
  plan::RegionIndex after = plan::kNoRegion;
};
struct KeptWeights {
  // The regions of the plan after, in their order: what need not be read.
  [[nodiscard]] std::vector<plan::RegionIndex> there() const;

  std::vector<KeptRegion> regions;  // in the order in which they lie
  Bytes bytes;
};
// Both plans are of the same model.
KeptWeights kept_weights(const plan::Plan& before, const plan::Plan& after);

// What the devices hold in RAM of weights, and of caches where those stay, so that they may go. Without any memory
// where nothing is to be kept.
cpu::KeptArenas take_arenas(Devices& devices, const KeptWeights& kept, bool caches_stay);
// Moves what is kept from where `before` has it to where `after` does. At no time is more held than by the larger of
// the two. Where the system refuses, `arena` has no memory then, and `kept` is nothing.
void move_weights(cpu::HostArena& arena, const plan::Plan& before, const plan::Plan& after, KeptWeights& kept);

}  // namespace loadline::engine
