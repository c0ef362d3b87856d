#include "engine/kept_weights.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <tuple>

#include "base/error.h"

namespace loadline::engine {
namespace {

bool lies_in_ram(const plan::Plan& plan, plan::RegionIndex index) {
  const plan::Region& region = plan.regions[index];
  return region.purpose == plan::Purpose::Weights && region.tensor != model::kNoTensor &&
         plan.arenas[region.arena].tier == plan::kCpu && plan::holder_of(plan, region.arena) == plan::kCpu;
}

std::optional<std::uint32_t> weights_arena(const plan::Plan& plan) { return ram_arena(plan, plan::Purpose::Weights); }

}  // namespace

std::vector<plan::RegionIndex> KeptWeights::there() const {
  std::vector<plan::RegionIndex> indices = on_gpus;
  for (const KeptRegion& one : regions) indices.push_back(one.after);
  std::ranges::sort(indices);
  return indices;
}

Bytes KeptWeights::bytes() const {
  Bytes all;
  for (const Bytes one : by_tier) all += one;
  return all;
}

Bytes KeptWeights::missing(const plan::Plan& after, std::uint32_t tier) const {
  Bytes all;
  for (const plan::Region& region : after.regions) {
    const bool is_weight = region.purpose == plan::Purpose::Weights && region.tensor != model::kNoTensor;
    if (is_weight && after.arenas[region.arena].tier == tier) all += region.size;
  }
  return all - (tier < by_tier.size() ? by_tier[tier] : Bytes());
}

void KeptWeights::forget_gpus() {
  gpus.clear();
  on_gpus.clear();
  for (std::size_t tier = 1; tier < by_tier.size(); ++tier) by_tier[tier] = {};
}

KeptWeights kept_weights(const plan::Plan& before, const plan::Plan& after, std::optional<plan::DeviceIndex> failed) {
  KeptWeights kept;
  kept.by_tier.resize(after.scratch.size());
  kept.gpus.resize(after.scratch.size());
  if (before.model_fingerprint != after.model_fingerprint) return kept;
  for (plan::DeviceIndex i = 1; i < after.scratch.size(); ++i) {
    if (!gpu_stays(before, after, i, failed)) continue;
    kept.gpus[i] = weights_on_gpu(before, after, i);
    const std::size_t first = kept.on_gpus.size();
    kept.gpus[i].append_regions(after, kept.on_gpus);
    for (std::size_t r = first; r < kept.on_gpus.size(); ++r) kept.by_tier[i] += after.regions[kept.on_gpus[r]].size;
  }
  const auto from = weights_arena(before);
  const auto to = weights_arena(after);
  if (!from || !to) return kept;
  const auto key = [](const plan::Region& region) {
    return std::tuple(region.tensor, region.layout, region.size.value, region.name);
  };
  std::map<std::tuple<model::TensorIndex, plan::Layout, std::uint64_t, std::string>, plan::RegionIndex> targets;
  for (plan::RegionIndex i = 0; i < after.regions.size(); ++i) {
    if (lies_in_ram(after, i) && after.regions[i].arena == *to) targets.emplace(key(after.regions[i]), i);
  }
  for (plan::RegionIndex i = 0; i < before.regions.size(); ++i) {
    if (!lies_in_ram(before, i) || before.regions[i].arena != *from) continue;
    const auto found = targets.find(key(before.regions[i]));
    if (found != targets.end()) kept.regions.push_back({i, found->second});
  }
  std::ranges::sort(kept.regions, {}, [&](const KeptRegion& one) { return before.regions[one.before].offset.value; });
  // In another order than before they could not be moved past each other: those are read again.
  std::uint64_t end = 0;
  std::erase_if(kept.regions, [&](const KeptRegion& one) {
    const plan::Region& region = after.regions[one.after];
    if (region.offset.value < end) return true;
    end = region.offset.value + region.size.value;
    return false;
  });
  for (const KeptRegion& one : kept.regions) kept.by_tier[plan::kCpu] += after.regions[one.after].size;
  return kept;
}

cpu::KeptArenas take_arenas(Devices& devices, const KeptWeights& kept, bool caches_stay) {
  cpu::KeptArenas arenas;
  if (devices.empty() || devices[plan::kCpu] == nullptr) return arenas;
  auto& cpu = static_cast<cpu::CpuDevice&>(*devices[plan::kCpu]);
  if (!kept.regions.empty()) arenas.weights = cpu.give(plan::Purpose::Weights);
  if (caches_stay) arenas.caches = cpu.give(plan::Purpose::KvCache);
  return arenas;
}

namespace {

// False where the system has no memory for it.
bool move_regions(cpu::HostArena& arena, const plan::Plan& before, const plan::Plan& after,
                  std::span<const KeptRegion> regions) {
  const auto offset_before = [&](const KeptRegion& one) { return before.regions[one.before].offset.value; };
  const auto offset_after = [&](const KeptRegion& one) { return after.regions[one.after].offset.value; };
  const auto move = [&](const KeptRegion& one) {
    const std::uint64_t size = after.regions[one.after].size.value;
    if (!arena.require(offset_after(one), offset_after(one) + size)) return false;
    std::memmove(arena.data() + offset_after(one), arena.data() + offset_before(one), size);
    return true;
  };
  // What goes up begins with the last, and what goes down with the first, so that nothing is written over; as the order
  // is the same, neither reaches the other's place.
  for (std::size_t i = regions.size(); i-- > 0;) {
    if (offset_after(regions[i]) > offset_before(regions[i]) && !move(regions[i])) return false;
  }
  return std::ranges::all_of(
      regions, [&](const KeptRegion& one) { return offset_after(one) >= offset_before(one) || move(one); });
}

}  // namespace

bool move_within(cpu::HostArena& arena, const plan::Plan& before, const plan::Plan& after,
                 std::span<const KeptRegion> regions, const plan::Arena& wanted) {
  const auto resize = [&] { arena.resize(wanted.size, wanted.huge_pages, plan::name_of(wanted.purpose)); };
  if (arena.size() < wanted.size) resize();
  const bool moved = move_regions(arena, before, after, regions);
  if (arena.size() > wanted.size) resize();
  return moved;
}

void move_weights(cpu::HostArena& arena, const plan::Plan& before, const plan::Plan& after, KeptWeights& kept) {
  bool moved = false;
  if (arena.data() != nullptr && !kept.regions.empty()) {
    try {
      moved = move_within(arena, before, after, kept.regions, after.arenas[*weights_arena(after)]);
    } catch (const Error&) {  // no address space for it
      moved = false;
    }
  }
  if (moved) return;
  arena = cpu::HostArena();  // it is loaded like the rest
  kept.regions.clear();
  if (!kept.by_tier.empty()) kept.by_tier[plan::kCpu] = {};
}

}  // namespace loadline::engine
