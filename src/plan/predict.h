// Predicts how fast a plan will run, and what bounds it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "gguf/gguf.h"
#include "plan/costs.h"
#include "plan/plan.h"

namespace loadline::plan {

// Prediction::prompt_bound and generation_bound of a plan whose stream takes longer than its arithmetic.
inline constexpr std::string_view kDiskBound = "disk bandwidth";

// What is assumed. Generation: one sequence, its context half full. Prompt: one batch of shape.batch tokens from an
// empty context. Loading: the file is not in the page cache, and all threads read and lay out. Reading streamed weights
// overlaps with computing.
Prediction predict(const gguf::Model& model, const Plan& plan, const CostModel& costs);

// Seconds of a pass of so many tokens from an empty context, one row of logits wanted.
double prompt_seconds(const Plan& plan, const CostModel& costs, std::uint64_t tokens);

// What a pass is made of.
struct PassLoad {
  std::uint64_t tokens = 1;
  std::uint64_t outputs = 1;    // rows of logits
  std::uint64_t sequences = 1;  // that the tokens are of; as many as tokens where each generates
  std::uint64_t depth = 1;      // cells that they have after it, all together
};
// What a pass takes, by what takes it.
struct PassSeconds {
  std::vector<double> devices;  // per device that computes
  double crossing = 0;          // from device to device
  double disk = 0;              // reading streamed weights, meanwhile
  double total = 0;
};
PassSeconds pass_seconds(const Plan& plan, const CostModel& costs, const PassLoad& load);

// Bytes of weights that are read from disk for every pass.
Bytes streamed_bytes(const Plan& plan);

// Bytes/s that the disk gave `passes` passes of this plan in so many seconds. nullopt where that says nothing of the
// disk: the plan is not bound by it, or less than 4 GiB were read.
std::optional<double> observed_disk_bandwidth(const Plan& plan, std::uint64_t passes, double seconds);

}  // namespace loadline::plan
