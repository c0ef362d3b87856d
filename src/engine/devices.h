// The devices of a plan. The one place, with measure_gpu.h, that names backends.
#pragma once

#include <memory>
#include <vector>

#include "backend/device.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::engine {

// Per device of the plan; null where it has nothing.
using Devices = std::vector<std::unique_ptr<backend::Device>>;

// Each has allocated what the plan gives it, and may use the others as far as the plan says so. All arguments outlive
// them. `drivers_held` grows by what the process came to hold of RAM by opening GPUs. Throws Error.
Devices make_devices(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, ThreadPool& pool,
                     const backend::StopFlag& stop, Bytes& drivers_held);

// Device::prepare of all, counting likewise.
void prepare_devices(Devices& devices, Bytes& drivers_held);

}  // namespace loadline::engine
