#include "engine/backends.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "backend/cpu/lower.h"
#include "backend/vulkan/lower.h"
#include "hardware/kernel_rates.h"

namespace loadline::engine {
namespace {

// What was measured of machines with such a processor, read once each.
const hardware::KernelRates* known_kernels(const hardware::Cpu& cpu) {
  static std::mutex mutex;
  static std::map<std::string, std::optional<hardware::KernelRates>> known;
  const std::string key = cpu.model + "/" + std::to_string(cpu.cores);
  const std::lock_guard lock(mutex);
  auto found = known.find(key);
  if (found == known.end()) {
    auto rates = hardware::recall_kernels(hardware::kernel_rates_path(), cpu, wanted_kernels());
    found = known.emplace(key, std::move(rates)).first;
  }
  return found->second ? &*found->second : nullptr;
}

}  // namespace

std::string wanted_kernels() {
  const char* set = std::getenv("LOADLINE_ISA");
  return set == nullptr ? std::string() : std::string(set);
}

const plan::Backends& backends() {
  static const cpu::CpuLowering kCpuBackend(known_kernels);
  static const vulkan::VulkanLowering kGpuBackend;
  static const plan::Backends kBackends({&kCpuBackend, &kGpuBackend});
  return kBackends;
}

plan::Rates rates_for(const plan::Plan& plan, hardware::Profile machine) {
  std::vector<hardware::Gpu> gpus;  // those of the plan, in its order
  for (plan::DeviceIndex i = 1; i < plan.scratch.size(); ++i) {
    const auto known = std::ranges::find(machine.gpus, plan.tiers[i].device, &hardware::Gpu::id);
    gpus.push_back(known != machine.gpus.end() ? *known : hardware::Gpu{});
  }
  machine.gpus = std::move(gpus);
  return plan::make_rates(machine, plan.shape, backends());
}

}  // namespace loadline::engine
