#include "engine/present.h"

#include <algorithm>

#include "engine/backends.h"
#include "hardware/probe.h"

namespace loadline::engine {

void look_at(hardware::Profile& machine, const Engine* engine) {
  hardware::Ram ram = hardware::probe_ram();
  ram.read_bandwidth = std::move(machine.ram.read_bandwidth);
  machine.ram = std::move(ram);
  if (engine == nullptr) return;
  std::vector<std::string> others;  // ids
  for (hardware::Gpu& gpu : machine.gpus) {
    const plan::Plan& plan = engine->plan();
    const backend::Device* open = nullptr;
    for (plan::DeviceIndex i = 1; i < plan.scratch.size(); ++i) {
      if (plan.tiers[i].device == gpu.id && engine->device(i) != nullptr) open = engine->device(i);
    }
    if (open == nullptr) {
      if (!gpu.id.empty()) others.push_back(gpu.id);
    } else if (const auto use = open->memory_use()) {
      gpu.free = std::min(use->budget, gpu.total);
    }
  }
  if (others.empty()) return;
  try {
    for (const hardware::Gpu& now : hardware::probe_gpus(others)) {
      const auto gpu = std::ranges::find(machine.gpus, now.id, &hardware::Gpu::id);
      if (gpu != machine.gpus.end()) gpu->free = std::min(now.free, gpu->total);
    }
  } catch (const std::exception&) {  // one is gone: nothing is free there
    for (hardware::Gpu& gpu : machine.gpus) {
      if (std::ranges::find(others, gpu.id) != others.end()) gpu.free = Bytes();
    }
  }
}

plan::Attempt plan_again(const Engine& engine, const hardware::Profile& machine, plan::Options& options) {
  const auto attempt = [&] { return plan::try_plan(engine.model(), engine.program(), machine, options, backends()); };
  plan::Attempt made = attempt();
  if (!made.fits && options.gpu_layers.kind != plan::GpuLayers::Kind::Auto) {
    options.gpu_layers = {};
    made = attempt();
  }
  if (!made.fits && !options.overrides.empty()) {
    options.overrides.clear();
    made = attempt();
  }
  return made;
}

bool same_places(const plan::Plan& one, const plan::Plan& other) {
  bool same = one.groups == other.groups && one.scratch.size() == other.scratch.size();
  for (std::uint32_t tier = 0; same && tier < one.scratch.size(); ++tier) {
    same = plan::tier_total(one, tier) == plan::tier_total(other, tier);
  }
  return same;
}

}  // namespace loadline::engine
