#include "plan/lifetimes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "backend/cpu/lower.h"
#include "plan/crossing.h"
#include "plan/needs_table.h"
#include "quant/attention_workspace.h"

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

// What each step of a recipe reads and writes, in words of the recipe alone. Some threads write a step's results while
// others still read what it is made from: so that has to be there afterwards too.
class Replay {
 public:
  Replay(const Plan& plan, const Part& part, const cpu::Recipe& recipe, Memory& memory)
      : plan_(plan), scratch_(plan.scratch.at(kCpu)), part_(part), recipe_(recipe), memory_(memory) {}

  void operator()(const recipe::Embed& step) { step.add ? change(step.out) : write(step.out); }
  void operator()(const recipe::Select& step) { change(step.x); }
  void operator()(const recipe::Prepare& step) {
    std::vector<Slot> in = {step.x};
    std::vector<Slot> out = {own(cpu::Own::Activations)};
    if (step.merge) {
      if (splits(recipe_.attentions.at(*step.merge))) in.push_back(own(cpu::Own::Attention));
      out.push_back(step.x);
    }
    if (step.norm != model::kNoTensor) out.push_back(step.normed);
    if (std::ranges::all_of(step.targets, [](const auto& target) { return !target; })) out.erase(out.begin());
    make(in, out);
  }
  void operator()(const recipe::Heads& step) {
    const recipe::Attention& attention = recipe_.attentions.at(step.attention);
    std::vector<Slot> turned = {attention.q};
    if (attention.k) turned.push_back(*attention.k);
    make(turned, turned);
    if (attention.v) read(*attention.v);
  }
  void operator()(const recipe::Attend& step) {
    const recipe::Attention& attention = recipe_.attentions.at(step.attention);
    std::vector<Slot> out = {attention.out};
    if (splits(attention)) out.push_back(own(cpu::Own::Attention));
    make({attention.q}, out);
  }
  void operator()(const recipe::Linear& step) {
    std::vector<Slot> out;
    for (const recipe::Product& product : step.products) {
      if (step.accumulate) read(product.out);
      out.push_back(product.out);
    }
    make({own(cpu::Own::Activations)}, out);
  }
  void operator()(const recipe::Gated& step) {
    if (step.second) read(step.gate.out);
    make({own(cpu::Own::Activations)}, {step.gate.out});
  }
  void operator()(const recipe::Norm& step) { make({step.x}, {step.out}); }
  void operator()(const recipe::Rope& step) { change(step.x); }
  void operator()(const recipe::Map& step) { make({step.a, step.b}, {step.out}); }
  void operator()(const recipe::Split& step) { make({step.x}, {step.outs.begin(), step.outs.end()}); }
  void operator()(const recipe::Route& step) { make({step.logits}, {step.out}); }
  void operator()(const recipe::ExpertsPhase& step) {
    using Phase = cpu::ExpertsStep::Phase;
    const Slot shared = own(cpu::Own::Experts);
    switch (step.phase) {
      case Phase::Begin: return make({step.experts.x, step.experts.chosen}, {shared});
      case Phase::Gather:
      case Phase::Up:
      case Phase::Hidden: return make({shared}, {shared});
      // Of many tokens down gives the sums, of few the step after it.
      case Phase::Down: return make({shared}, {shared, step.experts.out});
      case Phase::Sum: return make({shared}, {step.experts.out});
    }
  }
  void operator()(const recipe::HeadLinear& step) {
    const model::ops::HeadLinear& op = step.attributes;
    const bool prepared = !op.transposed && cpu::MatrixSet{{}, op.first_row, op.head_rows, op.rows}.aligned();
    if (step.second) {
      return prepared ? make({step.x, own(cpu::Own::Experts)}, {step.out}) : make({step.x}, {step.out});
    }
    if (prepared) make({step.x}, {own(cpu::Own::Experts)});
  }
  void operator()(const recipe::Convolution& step) { make({step.x}, {step.out}); }
  void operator()(const recipe::DeltaNet& step) {
    const std::vector<Slot> in = {step.qkv, step.beta, step.decay};
    make(in, step.second ? std::vector<Slot>{step.out} : in);
  }
  void operator()(const recipe::StateSpace& step) {
    if (step.second) return make({step.xbc, step.dt}, {step.out});
    change(step.dt);
  }

 private:
  [[nodiscard]] Slot own(cpu::Own buffer) const {
    return static_cast<Slot>(scratch_.values.size() + static_cast<std::size_t>(buffer));
  }
  [[nodiscard]] RegionIndex region(Slot slot) const {
    const std::size_t values = scratch_.values.size();
    return slot < values ? scratch_.values[slot] : scratch_.own.at(slot - values);
  }
  void read(Slot slot) { memory_.read(region(slot)); }
  void write(Slot slot) { memory_.write(region(slot)); }
  void change(Slot slot) { make({slot}, {slot}); }
  void make(const std::vector<Slot>& in, const std::vector<Slot>& out) {
    for (const Slot slot : in) read(slot);
    for (const Slot slot : out) write(slot);
    for (const Slot slot : in) read(slot);
  }
  // Whether few tokens that see as much as there can be leave partial results.
  [[nodiscard]] bool splits(const recipe::Attention& attention) const {
    if (part_.large_only) return false;
    const model::ops::Attention& op = attention.attributes;
    const std::uint32_t window = op.window != 0 ? op.window : op.chunk;
    const std::uint64_t seen =
        window == 0 ? plan_.shape.context : std::min(plan_.shape.context, window - 1 + plan_.shape.batch);
    return quant::attention_workspace(op.heads, op.head_dim_v, plan_.shape.batch, seen, window != 0).value > 0;
  }

  const Plan& plan_;
  const DeviceScratch& scratch_;
  const Part& part_;
  const cpu::Recipe& recipe_;
  Memory& memory_;
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
    for (const CarriedCrossing& crossing : carried_crossings(given.program, plan.stages)) {
      if (&plan.stages[crossing.to] == &stage) memory.write(plan.scratch.at(kCpu).values.at(crossing.value));
    }
    for (const Part& part : parts_of(stage)) {
      memory.at(given.program.groups[part.group].name());
      const cpu::Recipe recipe = cpu::lower(task, part);
      Replay replay(plan, part, recipe, memory);
      for (const recipe::Step& step : recipe.steps) std::visit(replay, step);
    }
    const bool last = stage.first_group + stage.group_count == plan.groups.size() && stage.end_op == kAllOps;
    if (last) memory.read(plan.scratch.at(kCpu).values.at(given.program.logits));
  }
}

}  // namespace loadline::test
