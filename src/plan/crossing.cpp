#include "plan/crossing.h"

#include <algorithm>

namespace loadline::plan {

using model::OpKind;

namespace {

bool is_carried(const model::Program& program, model::ValueId value) {
  return value != model::kHidden && program.values[value].carried;
}

// f(operation) of all operations of a stage, in order.
template <class Function>
void each_op(const model::Program& program, const Stage& stage, Function&& f) {
  for (std::uint32_t g = stage.first_group; g < stage.first_group + stage.group_count; ++g) {
    for (const model::Op& op : stage_ops(program, stage, g)) f(op);
  }
}

bool holds(const std::vector<model::ValueId>& values, model::ValueId value) {
  return std::ranges::find(values, value) != values.end();
}

// Whether the result is added to what is in the outputs.
bool adds(const model::Op& op) {
  if (op.kind == OpKind::Linear) return op.as<model::ops::Linear>().add;
  return op.kind == OpKind::Embed && op.as<model::ops::Embed>().add;
}

std::vector<model::ValueId> carried_out_of(const model::Program& program, const Stage& stage) {
  std::vector<model::ValueId> made;
  each_op(program, stage, [&](const model::Op& op) {
    for (const model::ValueId value : op.outputs) {
      if (is_carried(program, value) && !holds(made, value)) made.push_back(value);
    }
  });
  return made;
}

}  // namespace

OpRange cache_ops(const model::Group& group) {
  OpRange range{0, 0};
  for (std::uint32_t i = 0; i < group.ops.size(); ++i) {
    if (group.ops[i].kind == OpKind::Linear && range.end == 0) range.first = i + 1;
    if (group.ops[i].kind == OpKind::Attention) range.end = i + 1;
  }
  return range.end == 0 ? OpRange{0, 0} : range;
}

std::span<const model::ValueId> crossing_values(const model::Group& group, std::uint32_t op) {
  static constexpr model::ValueId kWhole[] = {model::kHidden};
  const OpRange stay = cache_ops(group);
  if (op == 0 || stay.end == 0) return kWhole;
  const model::Op& attention = group.ops[stay.end - 1];
  return op < stay.end ? attention.inputs : attention.outputs;
}

std::vector<model::ValueId> carried_into(const model::Program& program, const Stage& stage) {
  std::vector<model::ValueId> read;
  std::vector<model::ValueId> made;
  const auto reads = [&](model::ValueId value) {
    if (is_carried(program, value) && !holds(made, value) && !holds(read, value)) read.push_back(value);
  };
  each_op(program, stage, [&](const model::Op& op) {
    for (const model::ValueId value : op.inputs) reads(value);
    for (const model::ValueId value : op.outputs) {
      if (adds(op)) reads(value);
      made.push_back(value);
    }
  });
  return read;
}

std::vector<CarriedCrossing> carried_crossings(const model::Program& program, std::span<const Stage> stages) {
  struct Holders {
    std::uint32_t made_by = 0;  // stage
    std::vector<DeviceIndex> devices;
  };
  std::vector<Holders> holders(program.values.size());
  std::vector<CarriedCrossing> crossings;
  for (std::uint32_t i = 0; i < stages.size(); ++i) {
    const Stage& stage = stages[i];
    for (const model::ValueId value : carried_into(program, stage)) {
      Holders& of = holders[value];
      if (std::ranges::find(of.devices, stage.device) != of.devices.end()) continue;
      crossings.push_back({value, of.made_by, i});
      of.devices.push_back(stage.device);
    }
    for (const model::ValueId value : carried_out_of(program, stage)) holders[value] = {i, {stage.device}};
  }
  return crossings;
}

std::vector<std::uint32_t> groups_that_share_caches(const model::Program& program) {
  const auto each_attention = [&](auto&& f) {
    for (std::uint32_t g = 0; g < program.groups.size(); ++g) {
      for (const model::Op& op : program.groups[g].ops) {
        if (op.kind == OpKind::Attention) f(g, op.as<model::ops::Attention>());
      }
    }
  };
  std::vector<bool> read_elsewhere(program.caches.size(), false);
  each_attention([&](std::uint32_t, const model::ops::Attention& attention) {
    if (!attention.stores) read_elsewhere[attention.cache] = true;
  });
  std::vector<std::uint32_t> groups;
  each_attention([&](std::uint32_t g, const model::ops::Attention& attention) {
    if (read_elsewhere[attention.cache] && (groups.empty() || groups.back() != g)) groups.push_back(g);
  });
  return groups;
}

bool has_carried(const model::Program& program, const model::Group& group) {
  return std::ranges::any_of(group.ops, [&](const model::Op& op) {
    const auto carried = [&](model::ValueId value) { return is_carried(program, value); };
    return std::ranges::any_of(op.inputs, carried) || std::ranges::any_of(op.outputs, carried);
  });
}

}  // namespace loadline::plan
