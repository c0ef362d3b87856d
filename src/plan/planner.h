// The planner: from a model's header, a machine and what the user asked for to a Plan. A pure function: it reads no
// weight, allocates no device memory and gives the same plan for the same inputs.
#pragma once

#include "gguf/gguf.h"
#include "hardware/profile.h"
#include "model/program.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace loadline::plan {

// Throws Error(BadInput) for options that contradict the model or the machine, and Error(DoesNotFit) whose sentence has
// the bytes needed and available on each tier.
Plan make_plan(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
               const Options& options);

}  // namespace loadline::plan
