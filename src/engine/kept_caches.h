// Whether a change of plan leaves the caches of all layers where they are, so that no text has to be computed again.
// All or nothing: what one layer lacks of a text can only be computed from its tokens, by all layers.
#pragma once

#include "plan/plan.h"

namespace loadline::engine {

// True where both plans, of the same model, have every cache in RAM of the CPU's, at the same place of one arena, and
// divide it alike.
bool caches_stay(const plan::Plan& before, const plan::Plan& after);

// Of all caches of a plan, wherever they are.
Bytes cache_bytes(const plan::Plan& plan);

}  // namespace loadline::engine
