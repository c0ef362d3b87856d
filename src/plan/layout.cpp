#include "plan/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "plan/crossing.h"
#include "plan/runtime.h"
#include "plan/stream.h"

namespace loadline::plan {
namespace {

constexpr Bytes kPage(4096);
constexpr Bytes kHugePage = 2 * kMiB;
// Below this, rounding up to whole huge pages costs more (over 12 %) than walking page tables does.
constexpr Bytes kHugePagesFrom = 16 * kMiB;

// One arena while it is filled.
class ArenaBuilder {
 public:
  ArenaBuilder(Plan& plan, std::uint32_t tier, Purpose purpose) : plan_(plan), tier_(tier), purpose_(purpose) {}

  RegionIndex append(std::string name, Bytes size, model::TensorIndex tensor = model::kNoTensor,
                     Layout layout = Layout::File) {
    return at(std::move(name), align_up(end_, region_alignment(tier_)), size, tensor, layout);
  }
  RegionIndex at(std::string name, Bytes offset, Bytes size, model::TensorIndex tensor = model::kNoTensor,
                 Layout layout = Layout::File) {
    if (arena_ == kNone) {
      arena_ = static_cast<std::uint32_t>(plan_.arenas.size());
      plan_.arenas.push_back({tier_, purpose_, Bytes(0)});
    }
    plan_.regions.push_back({std::move(name), purpose_, arena_, offset, size, tensor, layout});
    end_ = std::max(end_, offset + size);
    return static_cast<RegionIndex>(plan_.regions.size() - 1);
  }
  // Later regions begin on a page.
  void align_to_page() { end_ = align_up(end_, kPage); }
  void close() {
    if (arena_ == kNone) return;
    const TierKind kind = plan_.tiers[tier_].kind;
    Arena& arena = plan_.arenas[arena_];
    arena.size = purpose_ == Purpose::Runtime ? align_up(end_, kPage) : arena_size(kind, end_);
    arena.huge_pages = purpose_ != Purpose::Runtime && uses_huge_pages(kind, end_);
  }

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFU;
  Plan& plan_;
  std::uint32_t tier_;
  Purpose purpose_;
  std::uint32_t arena_ = kNone;
  Bytes end_;
};

// The arenas of a device for the weights, or the caches, of its groups: in RAM one for all; on a GPU one for each
// layer, so that layers which leave it can be given back, and those that stay need not move.
class GroupArenas {
 public:
  GroupArenas(Plan& plan, DeviceIndex device, Purpose purpose) : plan_(plan), device_(device), purpose_(purpose) {
    arena_.emplace(plan, device, purpose);
  }
  // Where the group's regions go. Groups come in the program's order.
  ArenaBuilder& of(const model::Group& group) {
    if (device_ != kCpu && before_ != nullptr && !share_arenas(*before_, group)) {
      arena_->close();
      arena_.emplace(plan_, device_, purpose_);
    }
    before_ = &group;
    return *arena_;
  }
  // Where what is no group's goes.
  ArenaBuilder& last() { return *arena_; }
  void close() { arena_->close(); }

 private:
  Plan& plan_;
  DeviceIndex device_;
  Purpose purpose_;
  std::optional<ArenaBuilder> arena_;
  const model::Group* before_ = nullptr;
};

class LayoutBuilder {
 public:
  LayoutBuilder(const NeedsTable& needs, const Placement& placement, Plan& plan)
      : needs_(needs), model_(needs.task().model), program_(needs.task().program), placement_(placement), plan_(plan) {}

  void weights(DeviceIndex device);
  void stream();
  void cache(DeviceIndex device);
  void scratch(DeviceIndex device);
  void staging(const std::vector<bool>& used);
  void runtime(const std::vector<ContextOverhead>& overheads, const std::vector<bool>& used);

 private:
  const gguf::TensorInfo& tensor(model::TensorIndex index) const {
    return model_.tensors[static_cast<std::size_t>(index)];
  }
  bool streamed(model::TensorIndex index) const {
    return !placement_.streamed.empty() && placement_.streamed[static_cast<std::size_t>(index)];
  }
  const NeedsTable& needs_;
  const gguf::Model& model_;
  const model::Program& program_;
  const Placement& placement_;
  Plan& plan_;
};

void LayoutBuilder::weights(DeviceIndex device) {
  GroupArenas arenas(plan_, device, Purpose::Weights);
  for (std::size_t g = 0; g < program_.groups.size(); ++g) {
    const model::Group& group = program_.groups[g];
    if (placement_.groups[g].device != device) continue;
    const bool embedding = group.kind == model::GroupKind::Embedding;
    if (embedding && placement_.embedding_on_disk) continue;
    // The output group holds a tied embedding; Embed reads it there where both are on one device.
    const bool output_elsewhere = placement_.groups.back().device != device;
    ArenaBuilder& arena = arenas.of(group);
    for (const SlabNeed& slab : needs_.of(device, g).slabs) {
      if (streamed(slab.tensor)) continue;
      const std::string& name = tensor(slab.tensor).name;
      if (embedding && program_.tied_embeddings && slab.tensor == group.tensors().front()) {
        if (output_elsewhere) {
          plan_.embedding_copy = arena.append(name + " (copy)", slab.size, slab.tensor, slab.layout);
        }
        continue;
      }
      plan_.weights[static_cast<std::size_t>(slab.tensor)] = arena.append(name, slab.size, slab.tensor, slab.layout);
    }
  }
  for (const model::RopeTable& table : program_.ropes) {
    const model::TensorIndex factors = table.factors_for(plan_.shape.context);
    if (device != kCpu || factors == model::kNoTensor) continue;
    RegionIndex& region = plan_.weights[static_cast<std::size_t>(factors)];
    if (region == kNoRegion) region = arenas.last().append(tensor(factors).name, tensor(factors).size, factors);
  }
  arenas.close();
}

void LayoutBuilder::cache(DeviceIndex device) {
  GroupArenas own(plan_, device, Purpose::KvCache);
  ArenaBuilder in_ram(plan_, kCpu, Purpose::KvCache);  // of a GPU's attention: its driver's memory, so an arena apart
  for (std::size_t g = 0; g < program_.groups.size(); ++g) {
    if (placement_.groups[g].device != device) continue;
    ArenaBuilder& arena = placement_.groups[g].kv_on_cpu ? in_ram : own.of(program_.groups[g]);
    for (const CacheNeed& need : needs_.of(device, g).caches) {
      KvRegions& kv = plan_.kv[need.cache];
      const std::uint32_t layer = program_.caches[need.cache].layer;
      const bool state = program_.caches[need.cache].kind == model::CacheKind::State;
      kv.pages = need.pages;
      kv.device = device;
      kv.k = arena.append(fmt::format("blk.{}.{}", layer, state ? "state" : "k"), need.k);
      if (!state) kv.v = arena.append(fmt::format("blk.{}.v", layer), need.v);
    }
  }
  own.close();
  in_ram.close();
}

void LayoutBuilder::scratch(DeviceIndex device) {
  const Bytes load_buffer = device == kCpu ? load_buffer_bytes(model_, plan_.shape.threads) : Bytes(0);
  const ScratchLayout& layout =
      needs_.scratch(device, runs_on(device, placement_.groups, placement_.prompt), load_buffer);
  ArenaBuilder arena(plan_, device, Purpose::Scratch);
  std::vector<RegionIndex> regions;
  for (const Buffer& buffer : layout.buffers) regions.push_back(arena.at(buffer.name, buffer.offset, buffer.size));
  const auto region = [&](std::int32_t index) {
    return index < 0 ? kNoRegion : regions[static_cast<std::size_t>(index)];
  };
  DeviceScratch& scratch = plan_.scratch[device];
  const std::size_t values = program_.values.size();
  for (std::size_t slot = 0; slot < layout.slots.size(); ++slot) {
    (slot < values ? scratch.values : scratch.own).push_back(region(layout.slots[slot]));
  }
  if (device == kCpu) plan_.load_buffer = region(layout.load_buffer);
  arena.close();
}

void LayoutBuilder::stream() {
  const StreamRing ring = stream_ring(model_, program_, placement_.streamed);
  if (ring.slots.empty() && !placement_.embedding_on_disk) return;
  ArenaBuilder arena(plan_, kCpu, Purpose::Staging);
  if (!ring.slots.empty()) {
    plan_.stream_buffer = arena.append("direct reads", stream_buffer_bytes(model_, placement_.streamed));
  }
  if (placement_.embedding_on_disk) {
    const gguf::TensorInfo& info = tensor(program_.groups.front().tensors().front());
    plan_.embedding_rows =
        arena.append("embedding rows", align_up(Bytes(info.size.value / info.rows()), kPage) + kPage);
  }
  arena.align_to_page();
  arena.close();
  if (ring.slots.empty()) return;
  ArenaBuilder slots(plan_, kCpu, Purpose::Staging);
  for (std::size_t i = 0; i < ring.slots.size(); ++i) {
    Bytes offset = ring.offsets[i];
    const std::vector<SlabNeed>& slabs = needs_.of(kCpu, ring.slots[i].group).slabs;
    for (const model::TensorIndex index : ring.slots[i].tensors) {
      const SlabNeed& slab = *std::ranges::find(slabs, index, &SlabNeed::tensor);
      plan_.weights[static_cast<std::size_t>(index)] =
          slots.at(tensor(index).name, offset, slab.size, index, slab.layout);
      offset += align_up(slab.size, Bytes(64));
    }
    plan_.groups[ring.slots[i].group].streamed = true;
  }
  slots.close();
  plan_.stream = ring.slots;
}

void LayoutBuilder::staging(const std::vector<bool>& used) {
  for (DeviceIndex device = 0; device < used.size(); ++device) {
    if (!used[device]) continue;
    const std::string& name = plan_.tiers[device].name;
    const bool prompts = placement_.prompt.tokens > 0 && placement_.prompt.device == device;
    const DeviceTask task{placement_.groups.back().device == device, prompts ? &placement_.prompt : nullptr};
    ArenaBuilder own(plan_, device, Purpose::Staging);
    ArenaBuilder in_ram(plan_, kCpu, Purpose::Staging);
    for (StagingNeed& need : needs_.backend(device).staging(needs_.task(), task)) {
      RegionIndex region = kNoRegion;
      if (need.size.value > 0) {
        region = need.in_ram ? in_ram.append(fmt::format("{}, {}", need.name, name), need.size)
                             : own.append(std::move(need.name), need.size);
      }
      plan_.scratch[device].staging.push_back(region);
    }
    in_ram.close();
    own.close();
  }
}

void LayoutBuilder::runtime(const std::vector<ContextOverhead>& overheads, const std::vector<bool>& used) {
  const Bytes arenas = tier_total(plan_, kCpu);
  ArenaBuilder ram(plan_, kCpu, Purpose::Runtime);
  const bool has_gpu = std::find(used.begin() + 1, used.end(), true) != used.end();
  for (RuntimePart& part : runtime_parts(model_, program_, plan_.shape, arenas, has_gpu)) {
    ram.append(std::move(part.name), part.size);
  }
  if (overheads[kCpu].host.value > 0) ram.append("requests", overheads[kCpu].host);
  for (DeviceIndex device = 1; device < used.size(); ++device) {
    if (!used[device]) continue;
    if (overheads[device].host.value > 0) {
      ram.append(
          fmt::format("driver of {}{}", plan_.tiers[device].name, overheads[device].measured ? "" : " (assumed)"),
          overheads[device].host);
    }
    if (overheads[device].device.value == 0) continue;
    ArenaBuilder gpu(plan_, device, Purpose::Runtime);
    gpu.append(overheads[device].measured ? "device context" : "device context (assumed)", overheads[device].device);
    gpu.close();
  }
  ram.close();
}

}  // namespace

DeviceIndex holder_of(const Plan& plan, std::uint32_t arena) {
  const auto here = [&](RegionIndex region) { return region != kNoRegion && plan.regions[region].arena == arena; };
  for (DeviceIndex device = 1; device < plan.scratch.size(); ++device) {
    if (std::ranges::any_of(plan.scratch[device].staging, here)) return device;
  }
  const auto kv = std::ranges::find_if(plan.kv, [&](const KvRegions& regions) { return here(regions.k); });
  if (kv != plan.kv.end()) return kv->device;
  return plan.arenas[arena].tier;
}

Bytes tier_total(const Plan& plan, std::uint32_t tier) {
  Bytes total;
  for (const Arena& arena : plan.arenas) {
    if (arena.tier == tier) total += arena.size;
  }
  return total;
}

Bytes tier_total(const Plan& plan, std::uint32_t tier, Purpose purpose) {
  Bytes total;
  for (const Arena& arena : plan.arenas) {
    if (arena.tier == tier && arena.purpose == purpose) total += arena.size;
  }
  return total;
}

Bytes devices_total(const Plan& plan, Purpose purpose) {
  Bytes total;
  for (std::uint32_t tier = 0; tier < plan.scratch.size(); ++tier) total += tier_total(plan, tier, purpose);
  return total;
}

bool share_arenas(const model::Group& one, const model::Group& other) {
  const auto in_layer = [](const model::Group& group) {
    return group.kind == model::GroupKind::Attention || group.kind == model::GroupKind::FeedForward;
  };
  return in_layer(one) && in_layer(other) && one.layer == other.layer;
}

bool uses_huge_pages(TierKind tier, Bytes content) { return tier == TierKind::Ram && content >= kHugePagesFrom; }

Bytes arena_size(TierKind tier, Bytes content) {
  // Drivers hand out device memory in pages of up to 2 MiB; whole ones make what is planned what is taken.
  const bool large = tier == TierKind::Gpu ? content >= kHugePage : uses_huge_pages(tier, content);
  const Bytes small_page = tier == TierKind::Gpu ? 64 * kKiB : kPage;
  return align_up(content, large ? kHugePage : small_page);
}

Bytes load_buffer_bytes(const gguf::Model& model, std::uint32_t threads) {
  std::uint64_t largest = 0;
  std::uint64_t rows_together = 0;
  for (const gguf::TensorInfo& tensor : model.tensors) {
    largest = std::max(largest, tensor.size.value);
    rows_together = std::max(rows_together, tensor.size.value / tensor.rows() * std::min(kUploadRows, tensor.rows()));
  }
  // A direct read begins and ends on a page: up to one page more on each side.
  const auto whole = [](std::uint64_t bytes) { return align_up(Bytes(bytes), kPage) + kPage; };
  const Bytes part = std::max(whole(rows_together), std::min(whole(largest), kMiB));
  return part * load_buffer_parts(threads);
}

DeviceIndex device_for(const Plan& plan, std::size_t group, std::size_t tokens) {
  const PromptStream& prompt = plan.prompt;
  const bool borrowed = prompt.tokens > 0 && tokens >= prompt.tokens &&
                        std::ranges::binary_search(prompt.groups, static_cast<std::uint32_t>(group));
  return borrowed ? prompt.device : plan.groups[group].device;
}

StageRange stages_for(const Plan& plan, std::size_t tokens) {
  const auto all = static_cast<std::uint32_t>(plan.stages.size());
  if (plan.prompt.tokens == 0) return {0, all};
  // The second list begins with the first group again.
  const auto again = std::find_if(plan.stages.begin() + 1, plan.stages.end(),
                                  [](const Stage& stage) { return stage.first_group == 0; });
  const auto ordinary = static_cast<std::uint32_t>(again - plan.stages.begin());
  return tokens >= plan.prompt.tokens ? StageRange{ordinary, all} : StageRange{0, ordinary};
}

std::span<const model::Op> stage_ops(const model::Program& program, const Stage& stage, std::uint32_t group) {
  const std::vector<model::Op>& all = program.groups[group].ops;
  const std::size_t first = group == stage.first_group ? stage.first_op : 0;
  const bool last = group + 1 == stage.first_group + stage.group_count;
  const std::size_t end = last ? std::min<std::size_t>(stage.end_op, all.size()) : all.size();
  return std::span(all).subspan(first, end - first);
}

std::vector<Stage> stages_of(const model::Program& program, const std::vector<GroupPlacement>& groups,
                             const PromptStream& prompt) {
  std::vector<Stage> stages;
  const auto append = [&](DeviceIndex device, std::uint32_t group, std::uint32_t first_op, std::uint32_t end_op) {
    const bool begins = group == 0 && first_op == 0;
    if (begins || stages.back().device != device) stages.push_back({device, group, 0, first_op, end_op});
    Stage& stage = stages.back();
    stage.group_count = group + 1 - stage.first_group;
    stage.end_op = end_op;
  };
  for (std::uint32_t g = 0; g < groups.size(); ++g) append(groups[g].device, g, 0, kAllOps);
  if (prompt.tokens == 0) return stages;
  for (std::uint32_t g = 0; g < groups.size(); ++g) {
    const OpRange stay = cache_ops(program.groups[g]);
    if (!std::ranges::binary_search(prompt.groups, g)) {
      append(groups[g].device, g, 0, kAllOps);
    } else if (stay.end == 0) {
      append(prompt.device, g, 0, kAllOps);
    } else {
      append(prompt.device, g, 0, stay.first);
      append(groups[g].device, g, stay.first, stay.end);
      append(prompt.device, g, stay.end, kAllOps);
    }
  }
  return stages;
}

std::vector<Runs> runs_on(DeviceIndex device, const std::vector<GroupPlacement>& groups, const PromptStream& prompt) {
  std::vector<Runs> runs;
  for (const GroupPlacement& group : groups) runs.push_back(group.device == device ? Runs::All : Runs::Nothing);
  if (prompt.tokens > 0 && prompt.device == device) {
    for (const std::uint32_t group : prompt.groups) runs[group] = Runs::Projections;
  }
  return runs;
}

Placement placement_of(const gguf::Model& model, const Plan& plan) {
  Placement placement;
  placement.groups = plan.groups;
  if (!plan.stream.empty()) placement.streamed.assign(model.tensors.size(), false);
  for (const StreamSlot& slot : plan.stream) {
    for (const model::TensorIndex tensor : slot.tensors) placement.streamed[static_cast<std::size_t>(tensor)] = true;
  }
  placement.embedding_on_disk = plan.embedding_rows != kNoRegion;
  placement.prompt = plan.prompt;
  return placement;
}

Plan lay_out(const NeedsTable& needs, const std::vector<Tier>& tiers, const std::vector<ContextOverhead>& overheads,
             const Placement& placement) {
  const gguf::Model& model = needs.task().model;
  const model::Program& program = needs.task().program;
  Plan plan;
  plan.shape = needs.task().shape;
  plan.tiers = tiers;
  plan.groups = placement.groups;
  for (GroupPlacement& group : plan.groups) group.streamed = false;
  plan.prompt = placement.prompt;
  plan.stages = stages_of(program, plan.groups, plan.prompt);
  plan.weights.assign(model.tensors.size(), kNoRegion);
  plan.kv.resize(program.caches.size());
  // Planning lays out dozens of plans, of a thousand regions each.
  plan.regions.reserve(model.tensors.size() + 2 * plan.kv.size() + 64 * tiers.size());
  const auto devices = static_cast<DeviceIndex>(tiers.size() - 1);  // the disk computes nothing
  plan.scratch.resize(devices);
  std::vector<bool> used(devices, false);
  used[kCpu] = true;
  for (const GroupPlacement& group : placement.groups) used[group.device] = true;
  if (placement.prompt.tokens > 0) used[placement.prompt.device] = true;

  LayoutBuilder builder(needs, placement, plan);
  for (DeviceIndex device = 0; device < devices; ++device) {
    if (!used[device]) continue;
    builder.weights(device);
    builder.cache(device);
    builder.scratch(device);
  }
  builder.stream();
  builder.staging(used);
  builder.runtime(overheads, used);
  return plan;
}

}  // namespace loadline::plan
