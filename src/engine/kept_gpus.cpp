#include "engine/kept_gpus.h"

#include <algorithm>
#include <map>
#include <ranges>
#include <string>
#include <tuple>

#include "backend/vulkan/vulkan_device.h"

namespace loadline::engine {
namespace {

using RegionsByArena = std::vector<std::vector<plan::RegionIndex>>;

RegionsByArena regions_by_arena(const plan::Plan& plan) {
  RegionsByArena all(plan.arenas.size());
  for (plan::RegionIndex i = 0; i < plan.regions.size(); ++i) all.at(plan.regions[i].arena).push_back(i);
  return all;
}

// Where both plans have the same weights in the memory of one device.
class KeptOnGpu {
 public:
  KeptOnGpu(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device)
      : before_(before), after_(after), device_(device), contents_(regions_by_arena(after)) {}

  WeightsOnGpu run() {
    using plan::Purpose;
    kept_.stay = same_arenas(before_, after_, device_, Purpose::Weights);
    find_copies();
    const auto larger = [&](auto total) { return std::max(total(before_), total(after_)); };
    const Bytes limit = larger([&](const plan::Plan& plan) { return plan::tier_total(plan, device_); });
    Bytes beside = larger([&](const plan::Plan& plan) { return plan::tier_total(plan, device_, Purpose::Runtime); }) +
                   plan::tier_total(before_, device_, Purpose::KvCache);
    choose_copies(limit, beside);
    // Caches that come, while those that leave are still there, are worth more: they would be computed again.
    beside += plan::tier_total(after_, device_, Purpose::KvCache);
    for (const SameArena& arena : same_arenas(before_, after_, device_, Purpose::KvCache)) {
      beside -= after_.arenas[arena.after].size;
    }
    if (beside + kept_.arenas(after_) > limit) return {};
    return std::move(kept_);
  }

 private:
  // What an arena of the plan after may have from others of the plan before.
  struct Copies {
    std::uint32_t arena;
    std::vector<KeptRegion> regions;
  };

  void find_copies() {
    using Key = std::tuple<model::TensorIndex, plan::Layout, std::uint64_t, std::string>;
    const auto key = [](const plan::Region& region) {
      return Key{region.tensor, region.layout, region.size.value, region.name};
    };
    std::map<Key, plan::RegionIndex> there;
    const std::vector<std::uint32_t> sources = own_arenas(before_, device_, plan::Purpose::Weights);
    for (plan::RegionIndex i = 0; i < before_.regions.size(); ++i) {
      if (std::ranges::binary_search(sources, before_.regions[i].arena)) there.emplace(key(before_.regions[i]), i);
    }
    for (const std::uint32_t arena : own_arenas(after_, device_, plan::Purpose::Weights)) {
      if (std::ranges::find(kept_.stay, arena, &SameArena::after) != kept_.stay.end()) continue;
      Copies copies{arena, {}};
      for (const plan::RegionIndex region : contents_[arena]) {
        const auto found = there.find(key(after_.regions[region]));
        if (found != there.end()) copies.regions.push_back({found->second, region});
      }
      if (!copies.regions.empty()) wanted_.push_back(std::move(copies));
    }
    // What needs the least room first: it makes room for the rest.
    std::ranges::stable_sort(wanted_, {}, [&](const Copies& copies) { return after_.arenas[copies.arena].size; });
  }

  // As far as there is room for both places. Whatever else was there, weights, scratch and staging, is given back
  // before.
  void choose_copies(Bytes limit, Bytes beside) {
    std::map<std::uint32_t, std::size_t> left;  // by arena of the plan before: regions that are still wanted
    for (const Copies& copies : wanted_) {
      for (const KeptRegion& region : copies.regions) ++left[before_.regions[region.before].arena];
    }
    Bytes held = beside + kept_.arenas(after_);
    for (const std::uint32_t arena : std::views::keys(left)) held += before_.arenas[arena].size;
    for (const Copies& copies : wanted_) {
      const Bytes size = after_.arenas[copies.arena].size;
      const bool fits = held + size <= limit;
      if (fits) held += size;
      for (const KeptRegion& region : copies.regions) {
        const std::uint32_t from = before_.regions[region.before].arena;
        if (--left[from] == 0) held -= before_.arenas[from].size;
        if (fits) kept_.copied.push_back(region);
      }
    }
  }

  const plan::Plan& before_;
  const plan::Plan& after_;
  const plan::DeviceIndex device_;
  const RegionsByArena contents_;  // of the plan after
  std::vector<Copies> wanted_;
  WeightsOnGpu kept_;
};

}  // namespace

std::vector<std::uint32_t> own_arenas(const plan::Plan& plan, plan::DeviceIndex device, plan::Purpose purpose) {
  std::vector<std::uint32_t> arenas;
  for (std::uint32_t i = 0; i < plan.arenas.size(); ++i) {
    const plan::Arena& arena = plan.arenas[i];
    if (arena.tier == device && arena.purpose == purpose && plan::holder_of(plan, i) == device) arenas.push_back(i);
  }
  return arenas;
}

std::optional<std::uint32_t> ram_arena(const plan::Plan& plan, plan::Purpose purpose) {
  const std::vector<std::uint32_t> arenas = own_arenas(plan, plan::kCpu, purpose);
  return arenas.empty() ? std::nullopt : std::optional(arenas.front());
}

std::vector<SameArena> same_arenas(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device,
                                   plan::Purpose purpose) {
  const RegionsByArena contents_before = regions_by_arena(before);
  const RegionsByArena contents_after = regions_by_arena(after);
  const auto same = [&](plan::RegionIndex i, plan::RegionIndex j) {
    const plan::Region& a = before.regions[i];
    const plan::Region& b = after.regions[j];
    return a.name == b.name && a.offset == b.offset && a.size == b.size && a.tensor == b.tensor && a.layout == b.layout;
  };
  std::vector<SameArena> all;
  const std::vector<std::uint32_t> arenas = own_arenas(before, device, purpose);
  for (const std::uint32_t other : own_arenas(after, device, purpose)) {
    const auto found = std::ranges::find_if(arenas, [&](std::uint32_t one) {
      return before.arenas[one] == after.arenas[other] &&
             std::ranges::equal(contents_before[one], contents_after[other], same);
    });
    if (found != arenas.end()) all.push_back({*found, other});
  }
  return all;
}

bool uses_gpu(const plan::Plan& plan, plan::DeviceIndex device) {
  return device != plan::kCpu && device < plan.scratch.size() && !plan.scratch[device].values.empty();
}

bool gpu_stays(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device,
               std::optional<plan::DeviceIndex> failed) {
  return failed != device && uses_gpu(before, device) && uses_gpu(after, device) &&
         before.tiers[device].device == after.tiers[device].device;
}

Bytes WeightsOnGpu::arenas(const plan::Plan& after) const {
  Bytes total;
  for (const SameArena& arena : stay) total += after.arenas[arena.after].size;
  std::uint32_t last = plan::kNoRegion;
  for (const KeptRegion& region : copied) {
    const std::uint32_t arena = after.regions[region.after].arena;
    if (arena != last) total += after.arenas[arena].size;
    last = arena;
  }
  return total;
}

void WeightsOnGpu::append_regions(const plan::Plan& after, std::vector<plan::RegionIndex>& regions) const {
  for (plan::RegionIndex i = 0; i < after.regions.size(); ++i) {
    if (std::ranges::find(stay, after.regions[i].arena, &SameArena::after) != stay.end()) regions.push_back(i);
  }
  for (const KeptRegion& region : copied) regions.push_back(region.after);
}

WeightsOnGpu weights_on_gpu(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device) {
  return KeptOnGpu(before, after, device).run();
}

KeptGpus take_gpus(Devices& devices, const plan::Plan& before, const plan::Plan& after,
                   const std::vector<WeightsOnGpu>& weights, std::optional<plan::DeviceIndex> failed, bool caches) {
  KeptGpus kept(devices.size());
  for (plan::DeviceIndex i = 1; i < devices.size(); ++i) {
    if (devices[i] == nullptr || failed == i) continue;
    std::vector<std::uint32_t> arenas;
    if (caches) arenas = own_arenas(before, i, plan::Purpose::KvCache);
    if (!gpu_stays(before, after, i, failed) && arenas.empty()) continue;
    if (i < weights.size()) {
      for (const SameArena& arena : weights[i].stay) arenas.push_back(arena.before);
      for (const KeptRegion& region : weights[i].copied) arenas.push_back(before.regions[region.before].arena);
    }
    std::ranges::sort(arenas);
    const auto again = std::ranges::unique(arenas);
    arenas.erase(again.begin(), again.end());
    kept[i] = static_cast<vulkan::VulkanDevice&>(*devices[i]).give(arenas);
  }
  return kept;
}

void keep_weights(const plan::Plan& before, const plan::Plan& after, const std::vector<WeightsOnGpu>& weights,
                  KeptGpus& gpus) {
  for (plan::DeviceIndex i = 1; i < std::min(weights.size(), gpus.size()); ++i) {
    vulkan::KeptGpu& gpu = gpus[i];
    for (const SameArena& arena : weights[i].stay) {
      gpu.arenas.emplace(arena.after, std::move(gpu.before.at(arena.before)));
      gpu.before.erase(arena.before);
    }
    if (weights[i].copied.empty()) continue;
    std::map<std::uint32_t, std::size_t> left;  // by arena of the plan before
    for (const KeptRegion& region : weights[i].copied) ++left[before.regions[region.before].arena];
    vulkan::Mover mover(gpu.gpu->context);
    for (const KeptRegion& region : weights[i].copied) {
      const plan::Region& from = before.regions[region.before];
      const plan::Region& to = after.regions[region.after];
      if (!gpu.arenas.contains(to.arena)) {
        gpu.arenas.emplace(to.arena, vulkan::make_arena(gpu.gpu->context, after, to.arena));
      }
      mover.copy(gpu.before.at(from.arena).place(from.offset), gpu.arenas.at(to.arena).place(to.offset), to.size);
      if (--left[from.arena] == 0) gpu.before.erase(from.arena);
    }
  }
}

}  // namespace loadline::engine
