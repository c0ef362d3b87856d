// Says why nothing fits: the bytes needed and available of each tier that falls short, and what would fit instead.
#pragma once

#include "base/error.h"
#include "gguf/gguf.h"
#include "hardware/profile.h"
#include "model/program.h"
#include "plan/lowering.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace loadline::plan {

// `plan` is what would be needed (Attempt::plan). Error(DoesNotFit).
Error refusal(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
              const Options& options, const Backends& backends, const Plan& plan);

// Throws Error(DoesNotFit) where the machine does not have now what the plan takes: budgets that the user named may be
// larger than what is free, and a stored plan was made at another time.
void require_available(const Plan& plan, const hardware::Profile& profile);

// What a process that has loaded a plan holds of RAM.
struct Held {
  Bytes process;        // all of it (hardware::held_memory), less what no plan knows: the prompt
  Bytes drivers = {};   // of it, what opening the plan's GPUs took
  Bytes software = {};  // arenas of software GPUs: planned as a GPU's, but their memory is RAM
};

// Throws Error(Internal) where that is more than the plan's RAM. Drivers are allowed what the plan has for them or,
// where that is more, what opening them took: Error(DoesNotFit) where the budget and its headroom do not hold that.
void require_held(const Plan& plan, const Held& held);

// Why that cannot be told of a plan, in a sentence; empty where it can.
std::string why_not_verified(const Plan& plan);

// The sentence alone.
std::string shortfall_sentence(const model::Program& program, const Options& options, const Plan& plan);

}  // namespace loadline::plan
