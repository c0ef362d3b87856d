// Prompts with weights in RAM through a GPU: when they are, what it costs, and that slices cover every byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "backend/vulkan/slices.h"
#include "backend/vulkan/staging.h"
#include "base/error.h"
#include "engine/backends.h"
#include "plan/crossing.h"
#include "plan/json.h"
#include "plan/layout.h"
#include "plan/machines.h"
#include "plan/models.h"
#include "plan/planner.h"
#include "plan/predict.h"
#include "plan/render.h"
#include "plan/validate.h"

namespace loadline::plan {
namespace {

using quant::TensorType;
using vulkan::slot_bytes;
using vulkan::staged_offset;
using vulkan::weight_slices;
using vulkan::WeightSlice;

RegionIndex ring_of(const Plan& plan) { return vulkan::region_of(plan.scratch.at(1), vulkan::Staging::Ring); }

struct Planned {
  gguf::Model model = test::make_model(test::llama_3_8b(), test::q4_k_m(32));
  model::Program program = model::build_program(model);
  Plan plan;
};

Planned plan_8b(const char* card, const Options& options = {}) {
  Planned planned;
  planned.plan =
      make_plan(planned.model, planned.program, test::machine(32 * kGiB, {card}), options, engine::backends());
  return planned;
}

Options without_prompts() {
  Options options;
  options.prompt_offload = false;
  return options;
}

TEST(PromptStream, takes_the_feed_forwards_in_ram_where_the_gpu_is_faster) {
  const Planned planned = plan_8b("RTX 3050 Ti Mobile");
  const Plan& plan = planned.plan;
  ASSERT_GT(plan.prompt.tokens, 8U);
  EXPECT_LE(plan.prompt.tokens, plan.shape.batch);
  std::vector<std::uint32_t> expected;
  for (std::uint32_t g = 0; g < plan.groups.size(); ++g) {
    const model::Group& group = planned.program.groups[g];
    if (plan.groups[g].device != kCpu) continue;
    // The last layer's has only the rows that logits are wanted for.
    if (group.kind == model::GroupKind::FeedForward && group.layer < 31) expected.push_back(g);
    if (group.kind == model::GroupKind::Attention) expected.push_back(g);
  }
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(plan.prompt.groups, expected);
  EXPECT_EQ(plan.regions.at(ring_of(plan)).arena, plan.regions.at(plan.scratch.at(1).staging.front()).arena);
  for (std::uint32_t tier = 0; tier < 2; ++tier) EXPECT_LE(tier_total(plan, tier), plan.tiers[tier].budget);
  EXPECT_NE(plan_table(planned.model, planned.program, plan, {}, {}, {}).find("tokens and more: the feed-forward of"),
            std::string::npos);
}

TEST(PromptStream, makes_prompts_faster_and_generation_hardly_slower) {
  const Prediction with = plan_8b("RTX 3050 Ti Mobile").plan.prediction;
  const Prediction without = plan_8b("RTX 3050 Ti Mobile", without_prompts()).plan.prediction;
  EXPECT_GT(with.prompt_rate, 1.25 * without.prompt_rate);
  EXPECT_GE(with.generation_rate, 0.97 * without.generation_rate);
}

// What is left of a full GPU is often enough for shorter slices: generation then costs nothing.
TEST(PromptStream, has_shorter_slices_where_there_is_little_room) {
  const gguf::Model model = test::make_model(test::llama_3_2_1b(), test::q4_k_m(16));
  const model::Program program = model::build_program(model);
  const hardware::Profile profile = test::machine(32 * kGiB, {"RTX 3050 Ti Mobile"});
  std::size_t shorter = 0;
  for (std::uint64_t mib = 250; mib < 900; mib += 50) {
    Options options;
    options.gpu_budget = Bytes(mib << 20);
    const Plan with = make_plan(model, program, profile, options, engine::backends());
    options.prompt_offload = false;
    const Plan without = make_plan(model, program, profile, options, engine::backends());
    if (with.prompt.tokens == 0 || with.prompt.slice == kUsualSlice) continue;
    EXPECT_GE(with.prompt.slice, kUsualSlice / 4);
    EXPECT_GT(with.prediction.prompt_rate, 1.1 * without.prediction.prompt_rate) << mib;
    EXPECT_LE(tier_total(with, 1), *options.gpu_budget);
    if (with.prediction.generation_rate == without.prediction.generation_rate) ++shorter;
  }
  EXPECT_GT(shorter, 0U);
}

TEST(PromptStream, is_not_there_where_nothing_passes_or_nobody_wants_it) {
  EXPECT_EQ(plan_8b("RTX 3050 Ti Mobile", without_prompts()).plan.prompt, PromptStream());
  EXPECT_EQ(plan_8b("RTX 4090").plan.prompt, PromptStream());  // all of the model is on the card
  Options small;
  small.batch = 8;
  EXPECT_EQ(plan_8b("RTX 3050 Ti Mobile", small).plan.prompt, PromptStream());
}

TEST(PromptStream, runs_smaller_passes_where_the_groups_are_placed) {
  const Planned planned = plan_8b("RTX 3050 Ti Mobile");
  const Plan& plan = planned.plan;
  const std::uint32_t group = plan.prompt.groups.front();
  for (const std::uint32_t tokens : {1U, plan.prompt.tokens - 1, plan.prompt.tokens, plan.shape.batch}) {
    const bool through = tokens >= plan.prompt.tokens;
    EXPECT_EQ(device_for(plan, group, tokens), through ? plan.prompt.device : kCpu) << tokens;
    // The stages say the same, and have every operation once: matrices where their group is, and what works on a cache
    // where that is.
    const StageRange range = stages_for(plan, tokens);
    std::vector<const model::Op*> seen;
    for (std::uint32_t i = range.first; i < range.end; ++i) {
      const Stage& stage = plan.stages.at(i);
      EXPECT_TRUE(i == range.first || plan.stages.at(i - 1).device != stage.device);
      for (std::uint32_t g = stage.first_group; g < stage.first_group + stage.group_count; ++g) {
        for (const model::Op& op : stage_ops(planned.program, stage, g)) {
          using model::OpKind;
          const bool head_norm = op.kind == OpKind::Norm && op.as<model::ops::Norm>().parts > 1;
          const bool at_cache = op.kind == OpKind::Rope || head_norm || op.kind == OpKind::Attention;
          EXPECT_EQ(stage.device, at_cache ? plan.groups.at(g).device : device_for(plan, g, tokens));
          seen.push_back(&op);
        }
      }
    }
    std::vector<const model::Op*> all;
    for (const model::Group& each : planned.program.groups) {
      for (const model::Op& op : each.ops) all.push_back(&op);
    }
    EXPECT_EQ(seen, all);
  }
}

// The projections of an attention that stays in RAM: q, k and v one after the other, what lies between with the cache.
TEST(PromptStream, cuts_an_attention_around_its_cache) {
  const gguf::Model model = test::make_model(test::llama_3_8b(), test::q4_k_m(32));
  const model::Program program = model::build_program(model);
  const model::Group& group = program.groups.at(1);
  ASSERT_TRUE(engine::backends().of(1).can_pass_through(group));
  const OpRange stay = cache_ops(group);
  EXPECT_EQ(group.ops.at(stay.first - 1).kind, model::OpKind::Linear);
  EXPECT_EQ(group.ops.at(stay.end - 1).kind, model::OpKind::Attention);
  EXPECT_EQ(group.ops.at(stay.end).kind, model::OpKind::Linear);
  const auto inputs = crossing_values(group, stay.first);
  EXPECT_EQ(inputs.size(), 3U);
  Shape shape;
  Bytes end;
  for (const model::ValueId value : inputs) {
    EXPECT_EQ(staged_offset(program, shape, value), end);
    end += Bytes(std::uint64_t{shape.batch} * program.values.at(value).width * sizeof(float));
  }
  EXPECT_EQ(crossing_values(group, stay.end).size(), 1U);
  EXPECT_EQ(crossing_values(group, 0).front(), model::kHidden);
  for (const WeightSlice& slice : weight_slices(model, group, kUsualSlice)) {
    EXPECT_TRUE(slice.op < stay.first || slice.op >= stay.end);
    // A norm besides at most: q, k and v have not as many rows.
    EXPECT_LE(slice.parts.size(), 2U);
  }
}

// What a parallel feed-forward reads is made in the attention's group.
TEST(Crossing, brings_what_lives_across_groups_to_the_devices_that_read_it_and_to_no_other) {
  const gguf::Model model = test::make_model(test::llama_3_8b(), test::q4_k_m(32));
  model::Program program = model::build_program(model);
  const auto carried = static_cast<model::ValueId>(program.values.size());
  program.values.push_back({"made in group 1", 8, false, true});
  program.groups.at(1).ops.front().outputs.push_back(carried);
  program.groups.at(4).ops.front().inputs.push_back(carried);
  program.groups.at(6).ops.front().inputs.push_back(carried);
  const auto stages = [&](std::initializer_list<DeviceIndex> devices) {
    std::vector<GroupPlacement> groups(program.groups.size());
    for (std::size_t g = 0; g < groups.size(); ++g) {
      groups[g].device = g > 0 && g <= devices.size() ? *(devices.begin() + g - 1) : 0;
    }
    return stages_of(program, groups, {});
  };
  // All on one device, or made and read there with others between.
  EXPECT_TRUE(carried_crossings(program, stages({1, 1, 1, 1, 1, 1})).empty());
  EXPECT_TRUE(carried_crossings(program, stages({1, 2, 0, 1, 2, 1})).empty());
  // Once to the CPU, which reads it twice and has other stages between.
  const std::vector<Stage> cut = stages({1, 1, 0, 0, 2, 0});
  const std::vector<CarriedCrossing> crossings = carried_crossings(program, cut);
  ASSERT_EQ(crossings.size(), 1U);
  EXPECT_EQ(crossings.front().value, carried);
  EXPECT_EQ(cut.at(crossings.front().from).device, 1U);
  EXPECT_EQ(cut.at(crossings.front().to).first_group, 3U);
  EXPECT_EQ(carried_into(program, cut.at(crossings.front().to)), std::vector{carried});
  EXPECT_TRUE(carried_into(program, cut.at(crossings.front().from)).empty());
  // To two devices, from the one that made it.
  const std::vector<CarriedCrossing> both = carried_crossings(program, stages({1, 1, 2, 2, 0, 0}));
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[0].from, both[1].from);
  EXPECT_TRUE(has_carried(program, program.groups.at(4)));
  EXPECT_FALSE(has_carried(program, program.groups.at(3)));
}

TEST(PromptStream, slices_hold_every_row_once_and_vectors_where_they_are_needed) {
  const gguf::Model model = test::make_model(test::llama_3_8b(), test::q4_k_m(32));
  const model::Program program = model::build_program(model);
  for (const auto& [index, size] : {std::pair{2U, 64 * kKiB}, {2U, kMiB}, {2U, kUsualSlice}, {1U, kMiB}}) {
    const model::Group& group = program.groups.at(index);
    ASSERT_TRUE(engine::backends().of(1).can_pass_through(group));
    std::map<model::TensorIndex, std::uint64_t> rows;
    std::uint32_t last_op = 0;
    for (const WeightSlice& slice : weight_slices(model, group, size)) {
      EXPECT_GE(slice.op, last_op);
      last_op = slice.op;
      Bytes end;
      for (const WeightSlice::Part& part : slice.parts) {
        const gguf::TensorInfo& tensor = model.tensors.at(static_cast<std::size_t>(part.tensor));
        EXPECT_EQ(part.offset.value % 256, 0U);
        EXPECT_GE(part.offset, end);
        end = part.offset + quant::size_of(tensor.type, tensor.columns()) * part.rows;
        EXPECT_EQ(rows[part.tensor], part.first_row) << tensor.name;
        rows[part.tensor] += part.rows;
      }
      EXPECT_EQ(slice.bytes, end);
      EXPECT_LE(slice.bytes, slot_bytes(model, program, {16, 1, size, {index}}));
    }
    for (const model::TensorIndex tensor : group.tensors()) {
      EXPECT_EQ(rows[tensor], model.tensors.at(static_cast<std::size_t>(tensor)).rows());
    }
  }
}

TEST(PromptStream, survives_json_and_is_checked) {
  const Planned planned = plan_8b("RTX 3050 Ti Mobile");
  Plan again = plan_from_json(to_json(planned.model, planned.program, planned.plan), "a test");
  validate(again, planned.model, planned.program, engine::backends(), "a test");
  EXPECT_EQ(again.prompt, planned.plan.prompt);
  EXPECT_EQ(again.stages.size(), planned.plan.stages.size());
  EXPECT_EQ(again.scratch, planned.plan.scratch);
  const auto refused = [&](auto&& damage) {
    Plan damaged = again;
    damage(damaged);
    EXPECT_THROW(validate(damaged, planned.model, planned.program, engine::backends(), "a test"), Error);
  };
  refused([](Plan& plan) { plan.prompt.groups.push_back(10000); });
  refused([](Plan& plan) { plan.prompt.groups.insert(plan.prompt.groups.begin(), 0); });  // the embedding
  refused([](Plan& plan) { std::ranges::reverse(plan.prompt.groups); });
  refused([](Plan& plan) { plan.prompt.tokens = 8; });
  refused([](Plan& plan) { plan.prompt.tokens = plan.shape.batch + 1; });
  refused([](Plan& plan) { plan.prompt.device = 2; });
  refused([](Plan& plan) { plan.prompt = {}; });  // the ring is there for nothing
  refused([](Plan& plan) { plan.prompt.slice = 64 * kMiB; });
}

}  // namespace
}  // namespace loadline::plan
