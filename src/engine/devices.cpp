#include "engine/devices.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "backend/cpu/cpu_device.h"
#include "backend/vulkan/vulkan_device.h"
#include "base/clock.h"
#include "engine/kept_gpus.h"
#include "hardware/probe.h"

namespace loadline::engine {
namespace {

// $XDG_CACHE_HOME/loadline, or ~/.cache/loadline; empty where there is neither.
std::filesystem::path user_cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::filesystem::path(cache) / "loadline";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::filesystem::path(home) / ".cache/loadline";
  return {};
}

// Adds to `costs` what the process comes to hold of RAM, and the time that passes, while this lives.
class DriverShare {
 public:
  explicit DriverShare(GpuCosts& costs) : costs_(costs), before_(hardware::held_memory()) {}
  ~DriverShare() {
    const Bytes now = hardware::held_memory();
    costs_.held += now - std::min(now, before_);
    costs_.seconds += steady_seconds() - begin_;
  }
  DriverShare(const DriverShare&) = delete;
  DriverShare& operator=(const DriverShare&) = delete;

 private:
  GpuCosts& costs_;
  Bytes before_;
  double begin_ = steady_seconds();
};

vulkan::DeviceOptions options_of(const plan::Tier& tier) {
  vulkan::DeviceOptions options;
  options.device = tier.device;
  options.cache_folder = user_cache_folder();
  return options;
}

}  // namespace

void open_gpus(const plan::Plan& plan, KeptGpus& gpus, GpuCosts& costs) {
  gpus.resize(std::max(gpus.size(), plan.scratch.size()));
  for (plan::DeviceIndex i = 1; i < gpus.size(); ++i) {
    if (!uses_gpu(plan, i) || gpus[i].gpu != nullptr) continue;
    const double before = costs.seconds;
    {
      const DriverShare share(costs);
      gpus[i].gpu = std::make_unique<vulkan::OpenGpu>(options_of(plan.tiers[i]));
    }
    costs.once += costs.seconds - before;
  }
}

Devices make_devices(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, ThreadPool& pool,
                     const backend::StopFlag& stop, GpuCosts& costs, cpu::KeptArenas&& kept, KeptGpus&& gpus) {
  Devices devices(plan.scratch.size());
  auto cpu = std::make_unique<cpu::CpuDevice>(model, program, plan, pool, stop, std::move(kept));
  open_gpus(plan, gpus, costs);
  for (plan::DeviceIndex i = 1; i < plan.scratch.size(); ++i) {
    if (!uses_gpu(plan, i)) continue;
    const DriverShare share(costs);
    auto gpu = std::make_unique<vulkan::VulkanDevice>(model, program, plan, i, std::move(gpus[i]));
    gpu->set_source(cpu.get());
    devices[i] = std::move(gpu);
  }
  devices[plan::kCpu] = std::move(cpu);
  return devices;
}

void prepare_devices(Devices& devices, GpuCosts& costs) {
  for (std::size_t i = 0; i < devices.size(); ++i) {
    if (devices[i] == nullptr) continue;
    if (i == plan::kCpu) {
      devices[i]->prepare();
    } else {
      const DriverShare share(costs);
      devices[i]->prepare();
      costs.once += devices[i]->shader_seconds();
    }
  }
}

}  // namespace loadline::engine
