#include "plan/lifetimes.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <variant>

#include "backend/cpu/lower.h"
#include "plan/crossing.h"
#include "plan/needs_table.h"

namespace loadline::test {
namespace {

using namespace plan;  // NOLINT: this file is about nothing else
namespace recipe = cpu::recipe;

// The CPU's scratch arena: which regions hold what was last written to them.
class Memory {
 public:
  Memory(const Plan& plan, std::string where) : plan_(plan), where_(std::move(where)) {}

  void write(RegionIndex region) {
    ASSERT_NE(region, kNoRegion) << where_;
    const Region& r = plan_.regions.at(region);
    for (auto& [other, valid] : valid_) {
      const Region& o = plan_.regions.at(other);
      if (o.arena == r.arena && o.offset < r.offset + r.size && r.offset < o.offset + o.size) valid = false;
    }
    valid_[region] = true;
  }
  void read(RegionIndex region) {
    ASSERT_NE(region, kNoRegion) << where_;
    EXPECT_TRUE(valid_[region]) << where_ << ": " << plan_.regions.at(region).name
                                << " is read, but something else was written over it";
  }
  void at(std::string where) { where_ = std::move(where); }

 private:
  const Plan& plan_;
  std::string where_;
  std::map<RegionIndex, bool> valid_;
};

// What each step of a recipe reads and writes, in words of the recipe alone.
class Replay {
 public:
  Replay(const Plan& plan, const cpu::Recipe& recipe, Memory& memory)
      : scratch_(plan.scratch.at(kCpu)), recipe_(recipe), memory_(memory) {}

  void operator()(const recipe::Embed& step) { write(step.out); }
  void operator()(const recipe::Select& step) { change(step.x); }
  void operator()(const recipe::Prepare& step) {
    read(step.x);
    if (step.merge) {
      if (own(cpu::Own::Attention) != kNoRegion && splits_) memory_.read(own(cpu::Own::Attention));
      write(step.x);
    }
    if (step.norm != model::kNoTensor) write(step.normed);
    memory_.write(own(cpu::Own::Activations));
    // What the products read must not lie over what they are made from, which goes on after them.
    if (step.norm != model::kNoTensor) read(step.x);
  }
  void operator()(const recipe::Heads& step) {
    const recipe::Attention& attention = recipe_.attentions.at(step.attention);
    change(attention.q);
    change(attention.k);
    read(attention.v);
  }
  void operator()(const recipe::Attend& step) {
    const recipe::Attention& attention = recipe_.attentions.at(step.attention);
    read(attention.q);
    write(attention.out);
    if (own(cpu::Own::Attention) != kNoRegion) {
      memory_.write(own(cpu::Own::Attention));
      splits_ = true;
    }
    read(attention.out);
    read(attention.q);  // by another thread, while the first results are written
  }
  void operator()(const recipe::Linear& step) {
    for (const recipe::Product& product : step.products) step.accumulate ? change(product.out) : write(product.out);
    memory_.read(own(cpu::Own::Activations));
    for (const recipe::Product& product : step.products) read(product.out);
  }
  void operator()(const recipe::Gated& step) {
    step.second ? change(step.gate.out) : write(step.gate.out);
    memory_.read(own(cpu::Own::Activations));
  }

 private:
  [[nodiscard]] RegionIndex own(cpu::Own buffer) const { return scratch_.own.at(static_cast<std::size_t>(buffer)); }
  void read(model::ValueId value) { memory_.read(scratch_.values.at(value)); }
  void write(model::ValueId value) { memory_.write(scratch_.values.at(value)); }
  void change(model::ValueId value) {
    read(value);
    write(value);
  }

  const DeviceScratch& scratch_;
  const cpu::Recipe& recipe_;
  Memory& memory_;
  bool splits_ = false;  // there are partial results of the attention
};

}  // namespace

void expect_nothing_is_read_that_was_overwritten(const PlanCase& given, const Plan& plan) {
  Memory memory(plan, "the beginning");
  const LoweringTask task{given.model, given.program, plan.shape};
  for (const Stage& stage : plan.stages) {
    if (stage.device != kCpu) continue;
    if (stage.first_group > 0 || stage.first_op > 0) {
      const model::Group& group = given.program.groups[stage.first_group];
      for (const model::ValueId value : crossing_values(group, stage.first_op)) {
        memory.write(plan.scratch.at(kCpu).values.at(value));
      }
    }
    for (const Part& part : parts_of(stage)) {
      memory.at(given.program.groups[part.group].name());
      const cpu::Recipe recipe = cpu::lower(task, part);
      Replay replay(plan, recipe, memory);
      for (const recipe::Step& step : recipe.steps) std::visit(replay, step);
    }
    const bool last = stage.first_group + stage.group_count == plan.groups.size() && stage.end_op == kAllOps;
    if (last) memory.read(plan.scratch.at(kCpu).values.at(given.program.logits));
  }
}

}  // namespace loadline::test
