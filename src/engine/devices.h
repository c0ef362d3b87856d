// The devices of a plan. The one place, with measure_gpu.h and kept_weights.h, that names backends.
#pragma once

#include <memory>
#include <vector>

#include "backend/device.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::cpu {
struct KeptArenas;
}

namespace loadline::engine {

// Per device of the plan; null where it has nothing.
using Devices = std::vector<std::unique_ptr<backend::Device>>;

// Each has allocated what the plan gives it, and may use the others as far as the plan says so. All arguments outlive
// them. `gpus` grows by what opening GPUs took. `kept`: see CpuDevice. Throws Error.
struct GpuCosts {
  Bytes held;          // that the process came to hold of RAM
  double seconds = 0;  // that opening them and making their shaders took
};
Devices make_devices(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, ThreadPool& pool,
                     const backend::StopFlag& stop, GpuCosts& gpus, cpu::KeptArenas&& kept);

// Device::prepare of all, counting likewise.
void prepare_devices(Devices& devices, GpuCosts& gpus);

}  // namespace loadline::engine
