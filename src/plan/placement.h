// Decides which group runs where, and what is streamed from disk: least predicted time per token under the budgets.
#pragma once

#include <optional>
#include <vector>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/costs.h"
#include "plan/layout.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace loadline::plan {

// What a placement is chosen for. Refers to its parts, which must outlive it.
struct PlacementTask {
  const gguf::Model& model;
  const model::Program& program;
  const std::vector<Tier>& tiers;
  const std::vector<ContextOverhead>& overheads;
  const Shape& shape;
  const Options& options;
  const CostModel& costs;
  const NeedsTable& needs;
  std::optional<DeviceIndex> shared_caches = {};  // where the groups that share caches are; none: it is to be chosen

  [[nodiscard]] Plan lay_out(const Placement& placement) const {
    return plan::lay_out(needs, tiers, overheads, placement);
  }
};

// `fits`: within every budget. Otherwise the plan that comes nearest, whose totals say what is missing.
struct Placed {
  bool fits = false;
  Plan plan;
};

// Whether some of its weights are experts'.
bool has_experts(const model::Group& group);

// Throws Error(BadInput) for overrides that name a device that is not there or match no tensor.
Placed choose_placement(const PlacementTask& task);

// Whether -ngl N, for some N, gives what generates a token in less than `seconds` and fits without the disk. With one
// GPU; with several it is not looked into, and the answer is yes.
bool whole_layers_beat(const PlacementTask& task, double seconds);

// Which devices each group may run on, by -ngl and -ot, and by what their backends can do: [group][device].
std::vector<std::vector<bool>> allowed_devices(const NeedsTable& needs, const Options& options, std::size_t devices);

// Nothing holds more than its budget.
bool within_budgets(const Plan& plan);

}  // namespace loadline::plan
