// Says why nothing fits: the bytes needed and available of each tier that falls short, and what would fit instead.
#pragma once

#include "base/error.h"
#include "gguf/gguf.h"
#include "hardware/profile.h"
#include "model/program.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace loadline::plan {

// `plan` is what would be needed (Attempt::plan). Error(DoesNotFit).
Error refusal(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
              const Options& options, const Plan& plan);

// Throws Error(DoesNotFit) where the machine does not have now what the plan takes: budgets that the user named may be
// larger than what is free, and a stored plan was made at another time.
void require_available(const Plan& plan, const hardware::Profile& profile);

// Throws Error(Internal) where a process that has loaded the plan holds more than the plan's RAM. Says nothing of plans
// with a GPU, whose driver takes RAM of its own that the plan only estimates.
void require_held(const Plan& plan, Bytes held);

// The sentence alone.
std::string shortfall_sentence(const model::Program& program, const Options& options, const Plan& plan);

}  // namespace loadline::plan
