// The planner: from a model's header, a machine and what the user asked for to a Plan. A pure function: it reads no
// weight, allocates no device memory and gives the same plan for the same inputs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gguf/gguf.h"
#include "hardware/profile.h"
#include "model/program.h"
#include "plan/lowering.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace loadline::plan {

// Throws Error(BadInput) for options that contradict the model or the machine, and Error(DoesNotFit) whose sentence has
// the bytes needed and available on each tier and whose hint has what would fit.
Plan make_plan(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
               const Options& options, const Backends& backends);

// The same without suggestions. `fits` false: the plan is what would be needed, its totals above a budget.
struct Attempt {
  bool fits = false;
  Plan plan;
  std::vector<std::string> assumed;  // figures of the machine that nobody measured
};
Attempt try_plan(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
                 const Options& options, const Backends& backends);

}  // namespace loadline::plan
