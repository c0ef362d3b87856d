// What a machine has free for a model that is loaded already: as it would be without it. For whoever plans again.
#pragma once

#include "engine/engine.h"
#include "hardware/profile.h"
#include "plan/options.h"
#include "plan/planner.h"

namespace loadline::engine {

// Sets what is free now, the model's own share included: of RAM, of the GPUs that it uses, by their drivers' word to
// this process, and of the others by asking their drivers anew. `engine`: null where nobody may look at it now, and
// only RAM is asked. What was measured of the machine stays.
void look_at(hardware::Profile& machine, const Engine* engine);

// The fastest plan of the same model, context and sequences by what `machine` has. Where what the user asked of layers
// and tensors does not fit any more, how fast it runs decides instead. `options` becomes what the plan was made by.
plan::Attempt plan_again(const Engine& engine, const hardware::Profile& machine, plan::Options& options);

// Neither takes more than the other on any tier, and both run every group in the same place.
bool same_places(const plan::Plan& one, const plan::Plan& other);

}  // namespace loadline::engine
