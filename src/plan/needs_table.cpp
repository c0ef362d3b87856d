#include "plan/needs_table.h"

#include <algorithm>

#include "base/error.h"
#include "plan/crossing.h"

namespace loadline::plan {
std::span<const model::Op> ops_of(const model::Program& program, const Part& part) {
  const std::vector<model::Op>& all = program.groups[part.group].ops;
  const std::size_t end = std::min<std::size_t>(part.end_op, all.size());
  return std::span(all).subspan(part.first_op, end - part.first_op);
}

std::vector<Part> parts_of(const model::Program& program, std::uint32_t group, Runs runs) {
  if (runs == Runs::Nothing) return {};
  const OpRange stay = cache_ops(program.groups[group]);
  if (runs == Runs::All || stay.end == 0) return {{group, 0, kAllOps, runs == Runs::Projections}};
  return {{group, 0, stay.first, true}, {group, stay.end, kAllOps, true}};
}

std::vector<Part> parts_of(const Stage& stage) {
  const bool cut = stage.first_op > 0 || stage.end_op != kAllOps;
  std::vector<Part> parts;
  for (std::uint32_t i = 0; i < stage.group_count; ++i) {
    parts.push_back(
        {stage.first_group + i, i == 0 ? stage.first_op : 0, i + 1 == stage.group_count ? stage.end_op : kAllOps, cut});
  }
  return parts;
}

NeedsTable::NeedsTable(const gguf::Model& model, const model::Program& program, const Shape& shape,
                       const Backends& backends, std::size_t devices)
    : model_(model), program_(program), shape_(shape), backends_(backends) {
  for (DeviceIndex device = 0; device < devices; ++device) {
    const Lowering* backend = &backends.of(device);
    const auto known = std::ranges::find(kinds_, backend, &Kind::backend);
    kind_of_.push_back(static_cast<std::size_t>(known - kinds_.begin()));
    if (known == kinds_.end()) kinds_.push_back({backend, {}, {}});
  }
  for (Kind& kind : kinds_) {
    for (std::uint32_t g = 0; g < program.groups.size(); ++g) {
      Entry& entry = kind.groups.emplace_back();
      try {
        entry.needs = kind.backend->needs(task(), {g});
        entry.structure = intern({entry.needs.steps, entry.needs.buffers});
      } catch (const Error& error) {
        entry.why_not = error.what();
      }
    }
  }
  for (std::size_t g = 0; g < program.groups.size(); ++g) {
    const bool none = std::ranges::all_of(kinds_, [&](const Kind& kind) { return !kind.groups[g].why_not.empty(); });
    if (none) throw bad_input(kinds_.front().groups[g].why_not);
  }
}

bool NeedsTable::can_run(DeviceIndex device, std::size_t group) const {
  return kind(device).groups[group].why_not.empty();
}
const std::string& NeedsTable::why_not(DeviceIndex device, std::size_t group) const {
  return kind(device).groups[group].why_not;
}
const Needs& NeedsTable::of(DeviceIndex device, std::size_t group) const {
  const Entry& entry = kind(device).groups[group];
  if (!entry.why_not.empty()) throw bad_input(entry.why_not);
  return entry.needs;
}

std::uint32_t NeedsTable::intern(Structure structure) const {
  const auto known = std::ranges::find(structures_, structure);
  if (known != structures_.end()) return static_cast<std::uint32_t>(known - structures_.begin());
  structures_.push_back(std::move(structure));
  return static_cast<std::uint32_t>(structures_.size() - 1);
}

std::uint32_t NeedsTable::structure_of(const Kind& kind, Entry& entry, std::uint32_t group, Runs runs) const {
  if (runs == Runs::All) {
    if (!entry.why_not.empty()) throw bad_input(entry.why_not);
    return entry.structure;
  }
  if (!entry.projections) {
    Structure joined;
    for (const Part& part : parts_of(program_, group, runs)) {
      const Needs needs = kind.backend->needs(task(), part);
      for (BufferNeed need : needs.buffers) {
        need.first += joined.steps;
        need.last += joined.steps;
        joined.buffers.push_back(need);
      }
      joined.steps += needs.steps;
    }
    entry.projections = intern(std::move(joined));
  }
  return *entry.projections;
}

const ScratchLayout& NeedsTable::scratch(DeviceIndex device, const std::vector<Runs>& runs, Bytes load_buffer) const {
  Kind& of_kind = kind(device);
  std::vector<std::uint32_t> structures;  // each once, in the order of their first use
  for (std::uint32_t g = 0; g < runs.size(); ++g) {
    if (runs[g] == Runs::Nothing) continue;
    const std::uint32_t structure = structure_of(of_kind, of_kind.groups[g], g, runs[g]);
    if (std::ranges::find(structures, structure) == structures.end()) structures.push_back(structure);
  }
  std::vector<std::uint64_t> key = {load_buffer.value, region_alignment(device).value};
  key.insert(key.end(), structures.begin(), structures.end());
  const auto known = of_kind.scratch.find(key);
  if (known != of_kind.scratch.end()) return known->second;
  return of_kind.scratch.emplace(std::move(key), lay_out(of_kind, device, structures, load_buffer)).first->second;
}

ScratchLayout NeedsTable::lay_out(const Kind& kind, DeviceIndex device, const std::vector<std::uint32_t>& structures,
                                  Bytes load_buffer) const {
  const std::vector<std::string_view> own = kind.backend->own_buffers();
  const std::size_t values = program_.values.size();
  struct Use {
    Bytes size;
    std::vector<Interval> alive;
    bool always = false;
  };
  std::vector<Use> uses(values + own.size());
  std::uint32_t now = 0;
  for (const std::uint32_t index : structures) {
    const Structure& structure = structures_[index];
    for (const BufferNeed& need : structure.buffers) {
      Use& use = uses.at(need.slot);
      use.size = std::max(use.size, need.size);
      use.always = use.always || need.whole_pass;
      // In the order of the steps: intervals of one buffer follow each other.
      use.alive.push_back({now + need.first, now + need.last});
    }
    now += structure.steps;
  }
  ScratchLayout layout;
  layout.slots.assign(uses.size(), -1);
  for (std::size_t slot = 0; slot < uses.size(); ++slot) {
    Use& use = uses[slot];
    if (use.alive.empty()) continue;
    if (use.always || (slot < values && program_.values[slot].carried)) use.alive = {{0, now}};
    const bool told = slot == program_.logits || slot == program_.normed;
    if (told) use.alive.back().end = now;  // read after the pass
    const std::string_view name = slot < values ? std::string_view(program_.values[slot].name) : own[slot - values];
    layout.slots[slot] = static_cast<std::int32_t>(layout.buffers.size());
    layout.buffers.push_back({std::string(name), use.size, std::move(use.alive)});
  }
  if (load_buffer.value > 0) {
    layout.load_buffer = static_cast<std::int32_t>(layout.buffers.size());
    layout.buffers.push_back({"load buffer", load_buffer, {}});
  }
  layout.total = pack(layout.buffers, region_alignment(device));
  return layout;
}

}  // namespace loadline::plan
