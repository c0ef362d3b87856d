// Which caches a change of plan keeps, and how they come to where the new plan has them. All or nothing: what one layer
// lacks of a text can only be computed from its tokens, by all layers. A cache stays where it is, moves within the
// memory of its device, or goes to another device, laid out anew on the way.
#pragma once

#include <optional>

#include "backend/cpu/host_arena.h"
#include "engine/devices.h"
#include "exec/kv_cache.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::engine {

// Whether what the caches of all layers hold can be had under another plan of the same model without computing it
// again, holding no more meanwhile, on any tier, than the larger of the two plans does. Not where `failed`, a device,
// has some of it.
bool caches_stay(const model::Program& program, const plan::Plan& before, const plan::Plan& after,
                 std::optional<plan::DeviceIndex> failed);

// Of pages that hold something and go to another device.
Bytes moving_bytes(const model::Program& program, const plan::Plan& before, const plan::Plan& after,
                   const exec::KvCache& held);

// Where caches stay, and once the devices of the plan before are gone: moves what the pages of `held` hold. `ram`, the
// CPU's arena of caches, and those of `gpus`, which are open where the plan after uses them, are the plan's after that.
// Throws Error: nothing is then to be believed of them.
void move_caches(const model::Program& program, const plan::Plan& before, const plan::Plan& after,
                 const exec::KvCache& held, cpu::HostArena& ram, KeptGpus& gpus);

}  // namespace loadline::engine
