#include "plan/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "plan/crossing.h"
#include "plan/fingerprint.h"
#include "plan/layout.h"
#include "plan/needs_table.h"
#include "plan/stream.h"
#include "quant/kv_page.h"

namespace loadline::plan {
namespace {

class Validation {
 public:
  Validation(Plan& plan, const gguf::Model& model, const model::Program& program, const Backends& backends,
             std::string_view source)
      : plan_(plan), model_(model), program_(program), backends_(backends), source_(source) {}

  void run() {
    if (plan_.model_fingerprint != fingerprint(model_)) {
      throw bad_input(fmt::format("{} was made for another model ({})", source_, printable(plan_.model_name)),
                      "Make one for this model with `loadline plan --out`.");
    }
    check_shape();
    check_structure();
    needs_.emplace(model_, program_, plan_.shape, backends_, plan_.tiers.size() - 1);
    check_devices();
    expected_ =
        lay_out(*needs_, plan_.tiers, std::vector<ContextOverhead>(plan_.tiers.size()), placement_of(model_, plan_));
    check_regions();
    check_uses();
    check_overlaps();
    check_stream();
    for (std::uint32_t tier = 0; tier < plan_.tiers.size(); ++tier) {
      const Bytes total = tier_total(plan_, tier);
      if (plan_.tiers[tier].kind != TierKind::Disk && total > plan_.tiers[tier].budget) {
        fail(fmt::format("takes {} bytes of {}, more than its budget of {}", total.value,
                         printable(plan_.tiers[tier].name), plan_.tiers[tier].budget.value));
      }
    }
    plan_.stages = stages_of(program_, plan_.groups, plan_.prompt);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw bad_input(fmt::format("{}: the plan {}", source_, what), "Make it again with `loadline plan --out`.");
  }

  void check_shape() const {
    const Shape& shape = plan_.shape;
    const auto within = [&](const char* name, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
      if (value < least || value > most) fail(fmt::format("has a {} of {}", name, value));
    };
    within("number of sequences", shape.sequences, 1, 4096);
    within("context", shape.context, quant::kKvPageCells, std::uint64_t{1} << 30);
    if (shape.context % (quant::kKvPageCells * shape.sequences) != 0) {
      fail(
          fmt::format("has a context of {}, not whole pages for each of {} sequences", shape.context, shape.sequences));
    }
    within("batch", shape.batch, 1, 1 << 16);
    within("number of outputs", shape.outputs, 1, shape.batch);
    within("number of threads", shape.threads, 1, 1024);
    for (const auto& [type, width] :
         {std::pair{shape.k_type, program_.config.head_dim_k}, std::pair{shape.v_type, program_.config.head_dim_v}}) {
      using quant::TensorType;
      const bool known = type == TensorType::F32 || type == TensorType::F16 || type == TensorType::Q8_0;
      if (!known || width % quant::format_of(type).block_elements != 0) {
        fail(fmt::format("has a KV cache of type {}", quant::name_of(type)));
      }
    }
  }

  // The lists have an entry for each tier, group, tensor, layer and device, and name only what is there.
  void check_structure() const {
    const std::vector<Tier>& tiers = plan_.tiers;
    const bool ordered =
        tiers.size() >= 2 && tiers.size() <= 66 && tiers.front().kind == TierKind::Ram &&
        tiers.back().kind == TierKind::Disk &&
        std::all_of(tiers.begin() + 1, tiers.end() - 1, [](const Tier& tier) { return tier.kind == TierKind::Gpu; });
    if (!ordered) fail("does not list RAM, the GPUs and the disk");
    const std::size_t devices = tiers.size() - 1;
    const auto same = [&](const char* what, std::size_t found, std::size_t wanted) {
      if (found != wanted) fail(fmt::format("lists {} {} where the model has {}", found, what, wanted));
    };
    same("groups", plan_.groups.size(), program_.groups.size());
    same("weights", plan_.weights.size(), model_.tensors.size());
    same("layers of cache", plan_.kv.size(), program_.caches.size());
    same("devices' scratch", plan_.scratch.size(), devices);
    for (const GroupPlacement& group : plan_.groups) {
      if (group.device >= devices) fail(fmt::format("runs a group on device {}, which it does not have", group.device));
    }
    check_prompt(devices);
    for (const StreamSlot& slot : plan_.stream) {
      if (slot.group >= plan_.groups.size()) fail(fmt::format("streams group {}, which is not there", slot.group));
      for (const model::TensorIndex tensor : slot.tensors) {
        if (tensor < 0 || static_cast<std::size_t>(tensor) >= model_.tensors.size()) {
          fail(fmt::format("streams tensor {}, which is not there", tensor));
        }
      }
    }
  }

  // The groups whose weights go through a GPU for prompts are there, in order, in RAM, and of the kind that can.
  void check_prompt(std::size_t devices) const {
    const PromptStream& prompt = plan_.prompt;
    if (prompt.tokens == 0 && prompt.groups.empty() && prompt.device == kCpu) return;
    if (prompt.device == kCpu || prompt.device >= devices) {
      fail(fmt::format("sends prompts through device {}", prompt.device));
    }
    if (prompt.tokens <= kFewTokens || prompt.tokens > plan_.shape.batch) {
      fail(fmt::format("sends prompts of {} tokens through a GPU", prompt.tokens));
    }
    if (prompt.slice < kMiB / 64 || prompt.slice > kGiB)
      fail(fmt::format("cuts weights to {}", to_string(prompt.slice)));
    if (prompt.groups.empty()) fail("sends no group of prompts through a GPU, but has a place for it");
    for (std::size_t i = 0; i < prompt.groups.size(); ++i) {
      const std::uint32_t group = prompt.groups[i];
      const bool allowed = group < plan_.groups.size() && (i == 0 || group > prompt.groups[i - 1]) &&
                           backends_.of(prompt.device).can_pass_through(program_.groups[group]) &&
                           !has_carried(program_, program_.groups[group]) && plan_.groups[group].device == kCpu &&
                           !plan_.groups[group].streamed;
      if (!allowed) fail(fmt::format("sends group {} of prompts through a GPU, which cannot be", group));
    }
  }

  // Each group can run where it is.
  void check_devices() const {
    for (std::size_t g = 0; g < plan_.groups.size(); ++g) {
      if (!needs_->can_run(plan_.groups[g].device, g)) throw bad_input(needs_->why_not(plan_.groups[g].device, g));
    }
    const std::vector<std::uint32_t> together = groups_that_share_caches(program_);
    for (const std::uint32_t g : together) {
      if (plan_.groups[g].device == plan_.groups[together.front()].device) continue;
      fail(fmt::format("divides {} and {}, which share a cache, between devices",
                       program_.groups[together.front()].name(), program_.groups[g].name()));
    }
  }

  void check_regions() const {
    for (const Arena& arena : plan_.arenas) {
      if (arena.tier + 1 >= plan_.tiers.size()) fail(fmt::format("has an arena on tier {}", arena.tier));
    }
    for (const Region& region : plan_.regions) {
      const std::string name = printable(region.name);
      if (region.arena >= plan_.arenas.size()) fail(fmt::format("puts {} into an arena that is not there", name));
      const Arena& arena = plan_.arenas[region.arena];
      if (region.purpose != arena.purpose) fail(fmt::format("puts {} into an arena for something else", name));
      if (region.offset.value % region_alignment(arena.tier).value != 0) fail(fmt::format("does not align {}", name));
      if (region.offset + region.size > arena.size) fail(fmt::format("puts {} past the end of its arena", name));
    }
  }

  // Every use names a region like the one that laying the model out anew gives it.
  void check_use(const char* what, RegionIndex found, RegionIndex wanted) const {
    if (wanted == kNoRegion && found == kNoRegion) return;
    if (found != kNoRegion && found >= plan_.regions.size())
      fail(fmt::format("names a region for {} that is not there", what));
    if (found == kNoRegion) fail(fmt::format("has no region for {}", what));
    if (wanted == kNoRegion) fail(fmt::format("has a region for {} that nothing needs", what));
    const Region& a = plan_.regions[found];
    const Region& b = expected_.regions[wanted];
    const bool same = a.size == b.size && a.tensor == b.tensor && a.layout == b.layout && a.purpose == b.purpose &&
                      plan_.arenas[a.arena].tier == expected_.arenas[b.arena].tier;
    if (!same) fail(fmt::format("has a region for {} that is not as the model needs it", what));
  }

  void check_uses() const {
    for (std::size_t i = 0; i < plan_.weights.size(); ++i) {
      check_use(model_.tensors[i].name.c_str(), plan_.weights[i], expected_.weights[i]);
    }
    check_use("the embedding's copy", plan_.embedding_copy, expected_.embedding_copy);
    check_use("the embedding's rows", plan_.embedding_rows, expected_.embedding_rows);
    for (std::size_t layer = 0; layer < plan_.kv.size(); ++layer) {
      check_use("keys", plan_.kv[layer].k, expected_.kv[layer].k);
      check_use("values", plan_.kv[layer].v, expected_.kv[layer].v);
      if (plan_.kv[layer].pages != expected_.kv[layer].pages) fail("divides a cache into other pages than it has");
      if (plan_.kv[layer].device != expected_.kv[layer].device) fail("has a cache for another device than works on it");
    }
    for (std::size_t device = 0; device < plan_.scratch.size(); ++device) {
      const DeviceScratch& found = plan_.scratch[device];
      const DeviceScratch& wanted = expected_.scratch[device];
      if (found.values.size() != wanted.values.size()) fail("does not list the values of every device");
      for (std::size_t value = 0; value < found.values.size(); ++value) {
        check_use(program_.values[value].name.c_str(), found.values[value], wanted.values[value]);
      }
      if (found.own.size() != wanted.own.size()) fail("does not list the buffers of every device");
      const std::vector<std::string_view> names = backends_.of(static_cast<DeviceIndex>(device)).own_buffers();
      for (std::size_t i = 0; i < found.own.size(); ++i) {
        check_use(std::string(names[i]).c_str(), found.own[i], wanted.own[i]);
      }
      if (found.staging.size() != wanted.staging.size()) fail("does not list the staging of every device");
      for (std::size_t i = 0; i < found.staging.size(); ++i) check_use("staging", found.staging[i], wanted.staging[i]);
    }
    check_use("loading", plan_.load_buffer, expected_.load_buffer);
    check_use("direct reads", plan_.stream_buffer, expected_.stream_buffer);
    if (plan_.load_buffer != kNoRegion && plan_.regions[plan_.load_buffer].offset.value % 4096 != 0) {
      fail("does not align the load buffer to a page");
    }
    if (plan_.stream_buffer != kNoRegion && plan_.regions[plan_.stream_buffer].offset.value % 4096 != 0) {
      fail("does not align the buffer of direct reads to a page");
    }
  }

  // Scratch may overlap where the buffers are never alive together; the ring where its turns are apart (check_stream);
  // nothing else may.
  void check_overlaps() const {
    std::vector<std::uint32_t> turn(plan_.regions.size(), kNoRegion);
    for (std::uint32_t i = 0; i < plan_.stream.size(); ++i) {
      for (const model::TensorIndex tensor : plan_.stream[i].tensors) {
        turn[plan_.weights[static_cast<std::size_t>(tensor)]] = i;
      }
    }
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < plan_.regions.size(); ++i) {
      if (plan_.regions[i].purpose != Purpose::Runtime) order.push_back(i);
    }
    std::ranges::sort(order, {},
                      [&](std::size_t i) { return std::pair(plan_.regions[i].arena, plan_.regions[i].offset); });
    for (std::size_t a = 0; a < order.size(); ++a) {
      const Region& first = plan_.regions[order[a]];
      for (std::size_t b = a + 1; b < order.size(); ++b) {
        const Region& second = plan_.regions[order[b]];
        if (second.arena != first.arena || second.offset >= first.offset + first.size) break;
        const std::uint32_t one = turn[order[a]];
        const std::uint32_t other = turn[order[b]];
        if (one != kNoRegion && other != kNoRegion && one != other) continue;
        if (first.purpose == Purpose::Scratch && may_share(order[a], order[b])) continue;
        fail(fmt::format("puts {} and {} over each other", printable(first.name), printable(second.name)));
      }
    }
  }

  [[nodiscard]] bool may_share(std::size_t a, std::size_t b) const {
    const DeviceIndex device = plan_.arenas[plan_.regions[a].arena].tier;
    const ScratchLayout& layout =
        needs_->scratch(device, runs_on(device, plan_.groups, plan_.prompt), Bytes(device == kCpu ? 1 : 0));
    const Buffer* one = buffer_of(layout, device, a);
    const Buffer* other = buffer_of(layout, device, b);
    return one != nullptr && other != nullptr && one != other && !alive_together(*one, *other);
  }

  [[nodiscard]] const Buffer* buffer_of(const ScratchLayout& layout, DeviceIndex device, std::size_t region) const {
    const DeviceScratch& scratch = plan_.scratch[device];
    const auto at = [&](std::int32_t index) {
      return index < 0 ? nullptr : &layout.buffers[static_cast<std::size_t>(index)];
    };
    const std::size_t values = scratch.values.size();
    for (std::size_t slot = 0; slot < layout.slots.size(); ++slot) {
      const RegionIndex found = slot < values ? scratch.values[slot] : scratch.own[slot - values];
      if (found == region) return at(layout.slots[slot]);
    }
    if (device == kCpu && plan_.load_buffer == region) return at(layout.load_buffer);
    return nullptr;
  }

  // The order of the turns is that of the groups, each waits for the latest turn that lies where it will lie, and what
  // is read while another is computed does not lie on it.
  void check_stream() {
    const std::size_t count = plan_.stream.size();
    const auto overlap = [&](std::size_t a, std::size_t b) {
      for (const model::TensorIndex one : plan_.stream[a].tensors) {
        const Region& x = plan_.regions[plan_.weights[static_cast<std::size_t>(one)]];
        for (const model::TensorIndex other : plan_.stream[b].tensors) {
          const Region& y = plan_.regions[plan_.weights[static_cast<std::size_t>(other)]];
          if (x.arena == y.arena && x.offset < y.offset + y.size && y.offset < x.offset + x.size) return true;
        }
      }
      return false;
    };
    if (count != expected_.stream.size()) fail("does not stream as its weights ask for");
    for (std::size_t i = 0; i < count; ++i) {
      const StreamSlot& slot = plan_.stream[i];
      const StreamSlot& wanted = expected_.stream[i];
      if (slot.group != wanted.group || slot.tensors != wanted.tensors || slot.bytes != wanted.bytes) {
        fail(fmt::format("does not stream group {} as its weights ask for", slot.group));
      }
      std::size_t after = i;
      for (std::size_t back = 1; back < count && after == i; ++back) {
        const std::size_t other = (i + count - back) % count;
        if (overlap(i, other)) after = other;
      }
      if (slot.after != after) fail(fmt::format("reads group {} before its place is free", slot.group));
    }
    for (std::size_t g = 0; g < plan_.groups.size(); ++g) {
      if (plan_.groups[g].streamed != expected_.groups[g].streamed) fail("marks the wrong groups as streamed");
    }
  }

  Plan& plan_;
  const gguf::Model& model_;
  const model::Program& program_;
  const Backends& backends_;
  std::string_view source_;
  std::optional<NeedsTable> needs_;
  Plan expected_;
};

}  // namespace

void validate(Plan& plan, const gguf::Model& model, const model::Program& program, const Backends& backends,
              std::string_view source) {
  Validation(plan, model, program, backends, source).run();
}

}  // namespace loadline::plan
