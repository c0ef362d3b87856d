#include "engine/kept_caches.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <vector>

#include "backend/cpu/cache_pages.h"
#include "engine/kept_gpus.h"
#include "engine/kept_weights.h"
#include "plan/cache_pages.h"
#include "quant/kv_page.h"

namespace loadline::engine {
namespace {

// What moves at once between devices, unless a page is larger.
constexpr Bytes kAtOnce = kMiB;

// The keys of a cache, its values, or its states, under both plans.
struct Part {
  std::size_t cache;
  bool keys;
  plan::RegionIndex before, after;
  std::uint32_t pages;
  plan::DeviceIndex from, to;
};

std::vector<Part> parts_of(const plan::Plan& before, const plan::Plan& after) {
  std::vector<Part> parts;
  for (std::size_t i = 0; i < before.kv.size(); ++i) {
    const plan::KvRegions& a = before.kv[i];
    const plan::KvRegions& b = after.kv[i];
    if (a.k != plan::kNoRegion) parts.push_back({i, true, a.k, b.k, a.pages, a.device, b.device});
    if (a.v != plan::kNoRegion) parts.push_back({i, false, a.v, b.v, a.pages, a.device, b.device});
  }
  return parts;
}

cpu::PageParts page_parts(const model::Program& program, const plan::Plan& plan, const Part& part) {
  const model::Cache& cache = program.caches[part.cache];
  return {part.keys ? plan.shape.k_type : plan.shape.v_type, part.keys ? cache.head_dim_k : cache.head_dim_v,
          cache.kv_heads, part.keys};
}

Bytes page_bytes(const plan::Plan& plan, const Part& part) {
  return Bytes(plan.regions[part.before].size.value / part.pages);
}

// In the memory of the device that works on it.
bool lies_with_its_device(const plan::Plan& plan, plan::RegionIndex index, plan::DeviceIndex device) {
  const std::uint32_t arena = plan.regions[index].arena;
  return plan.arenas[arena].tier == device && plan::holder_of(plan, arena) == device;
}

// Of what goes to another kind of device the order of its bytes must be known.
bool can_cross(const model::Program& program, const plan::Plan& plan, const Part& part) {
  const model::CacheKind kind = program.caches[part.cache].kind;
  if (kind != model::CacheKind::Full && kind != model::CacheKind::Window) return false;
  const cpu::PageParts parts = page_parts(program, plan, part);
  return page_bytes(plan, part) == quant::kv_page_head_bytes(parts.type, parts.width) * parts.heads;
}

bool can_move(const model::Program& program, const plan::Plan& before, const plan::Plan& after, const Part& part) {
  if (part.after == plan::kNoRegion || before.regions[part.before].size != after.regions[part.after].size) return false;
  if (!lies_with_its_device(before, part.before, part.from)) return false;
  if (!lies_with_its_device(after, part.after, part.to)) return false;
  if (part.from == part.to) return true;
  return can_cross(program, before, part);
}

bool divides_alike(const plan::Plan& before, const plan::Plan& after) {
  const plan::Shape& one = before.shape;
  const plan::Shape& other = after.shape;
  return before.model_fingerprint == after.model_fingerprint && one.context == other.context &&
         one.sequences == other.sequences && one.k_type == other.k_type && one.v_type == other.v_type &&
         std::ranges::equal(before.kv, after.kv, {}, &plan::KvRegions::pages, &plan::KvRegions::pages);
}

Bytes arena_size(const plan::Plan& plan, const std::optional<std::uint32_t>& arena) {
  return arena ? plan.arenas[*arena].size : Bytes();
}

// What RAM holds of weights once those that stay are moved: an arena that was full, cut off or longer now, and where it
// is longer perhaps both places of what was moved.
Bytes weights_meanwhile(const plan::Plan& before, const plan::Plan& after, const KeptWeights& weights) {
  const Bytes kept = weights.by_tier[plan::kCpu];
  if (kept.value == 0) return {};
  const Bytes one = plan::tier_total(before, plan::kCpu, plan::Purpose::Weights);
  return std::min(plan::tier_total(after, plan::kCpu, plan::Purpose::Weights), one + kept);
}

// What a GPU holds of caches: those that were there, and those that come or have another arena now.
Bytes caches_meanwhile(const plan::Plan& before, const plan::Plan& after, plan::DeviceIndex device,
                       std::optional<plan::DeviceIndex> failed) {
  using plan::Purpose;
  const auto total = [&](const plan::Plan& plan) {
    return device < plan.scratch.size() ? plan::tier_total(plan, device, Purpose::KvCache) : Bytes();
  };
  Bytes held = total(before) + total(after);
  if (!gpu_stays(before, after, device, failed)) return held;
  for (const SameArena& arena : same_arenas(before, after, device, Purpose::KvCache)) {
    held -= after.arenas[arena.after].size;
  }
  return held;
}

// No tier holds more while caches move than by the larger plan.
bool has_room(const plan::Plan& before, const plan::Plan& after, std::optional<plan::DeviceIndex> failed) {
  using plan::Purpose;
  const std::size_t devices = std::max(before.scratch.size(), after.scratch.size());
  const KeptWeights weights = kept_weights(before, after, failed);
  for (plan::DeviceIndex i = 0; i < devices; ++i) {
    const auto total = [&](const plan::Plan& plan) {
      return i < plan.scratch.size() ? plan::tier_total(plan, i) : Bytes();
    };
    const auto runtime = [&](const plan::Plan& plan) {
      return i < plan.scratch.size() ? plan::tier_total(plan, i, Purpose::Runtime) : Bytes();
    };
    Bytes held = std::max(runtime(before), runtime(after));
    if (i == plan::kCpu) {
      held += std::max(arena_size(before, ram_arena(before, Purpose::KvCache)),
                       arena_size(after, ram_arena(after, Purpose::KvCache)));
      held += weights_meanwhile(before, after, weights);
      if (devices > 1) held += kAtOnce * (2 * devices);  // on their way
    } else {
      if (i < weights.gpus.size()) held += weights.gpus[i].arenas(after);
      held += caches_meanwhile(before, after, i, failed);
    }
    if (held > std::max(total(before), total(after))) return false;
  }
  return true;
}

Error no_memory() { return {ErrorCode::DoesNotFit, "the system has no memory for caches that are moved"}; }

// Of each page how many cells hold something; of states, which have no cells, all.
std::vector<std::uint32_t> known_cells(const model::Program& program, const plan::Plan& plan, const Part& part,
                                       const exec::KvCache& held) {
  const model::CacheKind kind = program.caches[part.cache].kind;
  std::vector<std::uint32_t> known(part.pages, quant::kKvPageCells);
  if (kind == model::CacheKind::State) return known;
  const bool window = kind == model::CacheKind::Window && plan::has_window_pages(program, plan.shape);
  const exec::PagePool& pool = window ? *held.window_pool() : held.pool();
  for (std::uint32_t page = 0; page < part.pages; ++page) known[page] = pool.known(page);
  return known;
}

class CacheMove {
 public:
  CacheMove(const model::Program& program, const plan::Plan& before, const plan::Plan& after, const exec::KvCache& held,
            cpu::HostArena& ram, KeptGpus& gpus)
      : program_(program), before_(before), after_(after), held_(held), ram_(ram), gpus_(gpus) {
    gpus_.resize(std::max({gpus_.size(), before.scratch.size(), after.scratch.size()}));
  }

  void run() {
    make_arenas();
    const std::vector<Part> parts = parts_of(before_, after_);
    for (const Part& part : parts) {
      if (part.to == plan::kCpu) continue;
      if (part.from == part.to) {
        move_on_gpu(part);
      } else {
        cross(part);
      }
    }
    move_in_ram(parts);
    for (const Part& part : parts) {
      if (part.to != plan::kCpu || part.from == plan::kCpu) continue;
      clear(part);
      cross(part);
    }
    movers_.clear();
    for (vulkan::KeptGpu& gpu : gpus_) gpu.before.clear();
  }

 private:
  // Those that are the same stay as they are.
  void make_arenas() {
    for (plan::DeviceIndex i = 1; i < gpus_.size(); ++i) {
      vulkan::KeptGpu& gpu = gpus_[i];
      for (const SameArena& arena : same_arenas(before_, after_, i, plan::Purpose::KvCache)) {
        const auto there = gpu.before.find(arena.before);
        if (there == gpu.before.end()) continue;
        gpu.arenas.emplace(arena.after, std::move(there->second));
        gpu.before.erase(there);
      }
      for (const std::uint32_t arena : own_arenas(after_, i, plan::Purpose::KvCache)) {
        if (gpu.arenas.contains(arena)) continue;
        gpu.arenas.emplace(arena, vulkan::make_arena(gpu.gpu->context, after_, arena));
      }
    }
  }

  vulkan::Mover& mover(plan::DeviceIndex gpu) {
    return movers_.try_emplace(gpu, gpus_[gpu].gpu->context).first->second;
  }
  // In the memory of a GPU.
  [[nodiscard]] vulkan::Place source(const Part& part) const {
    const plan::Region& region = before_.regions[part.before];
    return gpus_[part.from].before.at(region.arena).place(region.offset);
  }
  [[nodiscard]] vulkan::Place target(const Part& part) const {
    const plan::Region& region = after_.regions[part.after];
    return gpus_[part.to].arenas.at(region.arena).place(region.offset);
  }

  void move_on_gpu(const Part& part) {
    if (!gpus_[part.from].before.contains(before_.regions[part.before].arena)) return;  // it stays
    mover(part.to).copy(source(part), target(part), before_.regions[part.before].size);
  }

  void move_in_ram(const std::vector<Part>& parts) {
    std::vector<KeptRegion> regions;
    for (const Part& part : parts) {
      if (part.from == plan::kCpu && part.to == plan::kCpu) regions.push_back({part.before, part.after});
    }
    const auto arena = ram_arena(after_, plan::Purpose::KvCache);
    if (!arena) {
      ram_ = cpu::HostArena();
      return;
    }
    const auto offset_before = [&](const KeptRegion& one) { return before_.regions[one.before].offset; };
    const auto offset_after = [&](const KeptRegion& one) { return after_.regions[one.after].offset; };
    std::ranges::sort(regions, {}, offset_before);
    if (!std::ranges::is_sorted(regions, {}, offset_after)) {
      throw Error(ErrorCode::Internal, "caches in RAM would have to change places");
    }
    if (!move_within(ram_, before_, after_, regions, after_.arenas[*arena])) throw no_memory();
  }

  // Runs of pages that hold something, through the order that they have between devices.
  void cross(const Part& part) {
    const std::size_t page = page_bytes(before_, part).value;
    const std::vector<std::uint32_t> known = known_cells(program_, before_, part, held_);
    const auto at_once = static_cast<std::uint32_t>(std::max<std::size_t>(1, kAtOnce.value / page));
    for (std::uint32_t first = 0; first < part.pages;) {
      std::uint32_t end = first;
      while (end < part.pages && known[end] > 0 && end - first < at_once) ++end;
      if (end == first) {
        ++first;
        continue;
      }
      bytes_.resize((end - first) * page);
      take(part, first, end);
      put(part, first, std::span(known).subspan(first, end - first));
      first = end;
    }
  }

  void take(const Part& part, std::uint32_t first, std::uint32_t end) {
    const std::size_t page = page_bytes(before_, part).value;
    if (part.from != plan::kCpu) {
      vulkan::Place place = source(part);
      place.offset += first * page;
      mover(part.from).read(place, bytes_);
      return;
    }
    const std::byte* region = ram_.data() + before_.regions[part.before].offset.value;
    for (std::uint32_t i = first; i < end; ++i) {
      cpu::export_page(page_parts(program_, before_, part), region + i * page, bytes_.data() + (i - first) * page);
    }
  }

  void put(const Part& part, std::uint32_t first, std::span<const std::uint32_t> known) {
    const std::size_t page = page_bytes(before_, part).value;
    if (part.to != plan::kCpu) {
      vulkan::Place place = target(part);
      place.offset += first * page;
      mover(part.to).write(bytes_, place);
      return;
    }
    std::byte* region = ram_.data() + after_.regions[part.after].offset.value;
    for (std::size_t i = 0; i < known.size(); ++i) {
      cpu::import_page(page_parts(program_, before_, part), bytes_.data() + i * page, known[i],
                       region + (first + i) * page);
    }
  }

  // What was there before means something else here.
  void clear(const Part& part) {
    const plan::Region& region = after_.regions[part.after];
    const std::uint64_t begin = region.offset.value;
    if (!ram_.require(begin, begin + region.size.value)) throw no_memory();
    std::memset(ram_.data() + begin, 0, region.size.value);
  }

  const model::Program& program_;
  const plan::Plan& before_;
  const plan::Plan& after_;
  const exec::KvCache& held_;
  cpu::HostArena& ram_;
  KeptGpus& gpus_;
  std::map<plan::DeviceIndex, vulkan::Mover> movers_;
  std::vector<std::byte> bytes_;  // on their way
};

}  // namespace

bool caches_stay(const model::Program& program, const plan::Plan& before, const plan::Plan& after,
                 std::optional<plan::DeviceIndex> failed) {
  if (!divides_alike(before, after)) return false;
  for (plan::DeviceIndex i = 1; i < std::min(before.scratch.size(), after.scratch.size()); ++i) {
    const bool both = uses_gpu(before, i) && uses_gpu(after, i);
    if (both && before.tiers[i].device != after.tiers[i].device) return false;
  }
  const std::vector<Part> parts = parts_of(before, after);
  return std::ranges::all_of(parts,
                             [&](const Part& part) {
                               const bool lost = part.from != plan::kCpu && part.from == failed;
                               return !lost && can_move(program, before, after, part);
                             }) &&
         has_room(before, after, failed);
}

Bytes moving_bytes(const model::Program& program, const plan::Plan& before, const plan::Plan& after,
                   const exec::KvCache& held) {
  Bytes bytes;
  for (const Part& part : parts_of(before, after)) {
    if (part.from == part.to) continue;
    const std::vector<std::uint32_t> known = known_cells(program, before, part, held);
    const auto empty = static_cast<std::uint64_t>(std::ranges::count(known, 0U));
    bytes += page_bytes(before, part) * (known.size() - empty);
  }
  return bytes;
}

void move_caches(const model::Program& program, const plan::Plan& before, const plan::Plan& after,
                 const exec::KvCache& held, cpu::HostArena& ram, KeptGpus& gpus) {
  CacheMove(program, before, after, held, ram, gpus).run();
}

}  // namespace loadline::engine
