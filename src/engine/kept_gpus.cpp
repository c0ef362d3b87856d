#include "engine/kept_gpus.h"

#include <algorithm>

#include "backend/vulkan/vulkan_device.h"

namespace loadline::engine {
namespace {

std::vector<plan::RegionIndex> regions_of(const plan::Plan& plan, std::uint32_t arena) {
  std::vector<plan::RegionIndex> indices;
  for (plan::RegionIndex i = 0; i < plan.regions.size(); ++i) {
    if (plan.regions[i].arena == arena) indices.push_back(i);
  }
  return indices;
}

}  // namespace

std::optional<std::uint32_t> own_arena(const plan::Plan& plan, plan::DeviceIndex device, plan::Purpose purpose) {
  for (std::uint32_t i = 0; i < plan.arenas.size(); ++i) {
    const plan::Arena& arena = plan.arenas[i];
    if (arena.tier == device && arena.purpose == purpose && plan::holder_of(plan, i) == device) return i;
  }
  return std::nullopt;
}

bool same_arena(const plan::Plan& before, std::uint32_t one, const plan::Plan& after, std::uint32_t other) {
  const auto same = [&](plan::RegionIndex i, plan::RegionIndex j) {
    const plan::Region& a = before.regions[i];
    const plan::Region& b = after.regions[j];
    return a.name == b.name && a.offset == b.offset && a.size == b.size && a.tensor == b.tensor && a.layout == b.layout;
  };
  return before.arenas[one] == after.arenas[other] &&
         std::ranges::equal(regions_of(before, one), regions_of(after, other), same);
}

bool uses_gpu(const plan::Plan& plan, plan::DeviceIndex device) {
  return device != plan::kCpu && device < plan.scratch.size() && !plan.scratch[device].values.empty();
}

bool gpu_stays(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device,
               std::optional<plan::DeviceIndex> failed) {
  return failed != device && uses_gpu(before, device) && uses_gpu(after, device) &&
         before.tiers[device].device == after.tiers[device].device;
}

std::vector<plan::RegionIndex> same_weights(const plan::Plan& before, const plan::Plan& after,
                                            plan::DeviceIndex device) {
  const auto one = own_arena(before, device, plan::Purpose::Weights);
  const auto other = own_arena(after, device, plan::Purpose::Weights);
  if (!one || !other || !same_arena(before, *one, after, *other)) return {};
  return regions_of(after, *other);
}

KeptGpus take_gpus(Devices& devices, const plan::Plan& before, const plan::Plan& after,
                   std::optional<plan::DeviceIndex> failed, bool caches) {
  KeptGpus kept(devices.size());
  for (plan::DeviceIndex i = 1; i < devices.size(); ++i) {
    if (devices[i] == nullptr || failed == i) continue;
    const bool stays = gpu_stays(before, after, i, failed);
    const bool read = caches && own_arena(before, i, plan::Purpose::KvCache);
    if (!stays && !read) continue;
    const bool weights = stays && !same_weights(before, after, i).empty();
    kept[i] = static_cast<vulkan::VulkanDevice&>(*devices[i]).give(weights, read);
  }
  return kept;
}

}  // namespace loadline::engine
