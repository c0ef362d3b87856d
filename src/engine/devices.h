// The devices of a plan. The one place, with measure_gpu.h and what is kept of them (kept_*.h), that names
// backends.
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
namespace loadline::vulkan {
struct KeptGpu;
}

namespace loadline::engine {

// Per device of the plan; null where it has nothing.
using Devices = std::vector<std::unique_ptr<backend::Device>>;

// What of GPUs the plan before leaves, by device; shorter where there is none.
using KeptGpus = std::vector<vulkan::KeptGpu>;

struct GpuCosts {
  Bytes held;          // that the process came to hold of RAM
  double seconds = 0;  // that opening them and making their shaders took ...
  double once = 0;     // ... of which what is not done again while they stay open
};

// Opens the GPUs that a plan uses and that are not open. Throws Error.
void open_gpus(const plan::Plan& plan, KeptGpus& gpus, GpuCosts& costs);

// Each has allocated what the plan gives it, and may use the others as far as the plan says so. All arguments outlive
// them. `costs` grows by what opening GPUs took. `kept`, `gpus`: what becomes theirs, see CpuDevice and VulkanDevice.
// Throws Error.
Devices make_devices(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, ThreadPool& pool,
                     const backend::StopFlag& stop, GpuCosts& costs, cpu::KeptArenas&& kept, KeptGpus&& gpus);

// Device::prepare of all, counting likewise.
void prepare_devices(Devices& devices, GpuCosts& costs);

}  // namespace loadline::engine
