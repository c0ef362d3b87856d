#include "plan/layout.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "backend/cpu/recipe.h"
#include "base/error.h"
#include "engine/backends.h"
#include "plan/models.h"
#include "plan/planner.h"
#include "quant/kv_page.h"

namespace loadline::plan {
namespace {

using quant::TensorType;

hardware::Profile machine(Bytes ram) {
  hardware::Profile profile;
  profile.cpu.cores = 4;
  profile.ram.total = ram;
  profile.ram.available = ram;
  return profile;
}

struct Planned {
  gguf::Model model;
  model::Program program;
  Plan plan;
};

Planned plan_on_cpu(const test::ModelShape& shape, const test::TypeOf& types, const Options& options = {}) {
  gguf::Model model = test::make_model(shape, types);
  model::Program program = model::build_program(model);
  Plan plan = make_plan(model, program, machine(64 * kGiB), options, engine::backends());
  return {std::move(model), std::move(program), std::move(plan)};
}

const Region& region_of(const Planned& planned, const char* tensor) {
  const auto index = static_cast<std::size_t>(planned.model.find_tensor(tensor));
  return planned.plan.regions.at(planned.plan.weights.at(index));
}

TEST(Layout, every_tensor_has_a_region_of_its_size) {
  const Planned planned = plan_on_cpu(test::tiny(), test::all_of(TensorType::Q8_0));
  for (std::size_t i = 0; i < planned.model.tensors.size(); ++i) {
    const Region& region = planned.plan.regions.at(planned.plan.weights[i]);
    EXPECT_EQ(region.size, planned.model.tensors[i].size) << region.name;
    EXPECT_EQ(region.tensor, static_cast<model::TensorIndex>(i));
    EXPECT_EQ(region.purpose, Purpose::Weights);
  }
}

TEST(Layout, matrices_are_repacked_and_everything_else_lies_as_in_the_file) {
  const Planned planned = plan_on_cpu(test::tiny(), test::all_of(TensorType::Q4_K));
  EXPECT_EQ(region_of(planned, "blk.0.attn_q.weight").layout, cpu::kRows16);
  EXPECT_EQ(region_of(planned, "output.weight").layout, cpu::kRows16);
  EXPECT_EQ(region_of(planned, "blk.1.ffn_norm.weight").layout, Layout::File);
  EXPECT_EQ(region_of(planned, "token_embd.weight").layout, Layout::File);
}

TEST(Layout, a_tied_embedding_is_there_once_and_repacked) {
  test::ModelShape shape = test::tiny();
  shape.tied = true;
  const Planned planned = plan_on_cpu(shape, test::all_of(TensorType::Q4_K));
  EXPECT_EQ(region_of(planned, "token_embd.weight").layout, cpu::kRows16);
  EXPECT_EQ(planned.plan.embedding_copy, kNoRegion);
  EXPECT_EQ(std::ranges::count_if(planned.plan.regions,
                                  [](const Region& region) { return region.name.starts_with("token_embd"); }),
            1);
}

TEST(Layout, regions_lie_inside_their_arenas_aligned_and_apart) {
  const Planned planned = plan_on_cpu(test::llama_3_2_1b(), test::q4_k_m(16));
  const Plan& plan = planned.plan;
  std::vector<std::pair<std::uint32_t, std::pair<Bytes, Bytes>>> apart;
  for (const Region& region : plan.regions) {
    EXPECT_EQ(region.offset.value % 64, 0U) << region.name;
    EXPECT_LE(region.offset + region.size, plan.arenas.at(region.arena).size) << region.name;
    if (region.purpose == Purpose::Scratch) continue;
    apart.push_back({region.arena, {region.offset, region.offset + region.size}});
  }
  std::ranges::sort(apart);
  for (std::size_t i = 1; i < apart.size(); ++i) {
    if (apart[i].first == apart[i - 1].first) {
      EXPECT_GE(apart[i].second.first, apart[i - 1].second.second);
    }
  }
}

TEST(Layout, arenas_are_whole_pages_and_large_ones_whole_huge_pages) {
  const Planned planned = plan_on_cpu(test::llama_3_2_1b(), test::q4_k_m(16));
  for (const Arena& arena : planned.plan.arenas) {
    EXPECT_EQ(arena.huge_pages, arena.purpose != Purpose::Runtime && arena.size >= 16 * kMiB);
    EXPECT_EQ(arena.size.value % (arena.huge_pages ? 2 * kMiB : 4 * kKiB).value, 0U);
  }
}

TEST(Layout, the_cache_has_whole_pages_for_every_layer) {
  Options options;
  options.context = 100;
  options.sequences = 3;  // 34 cells each, two pages
  const Planned planned = plan_on_cpu(test::tiny(), test::all_of(TensorType::F16), options);
  EXPECT_EQ(planned.plan.shape.context, 3U * 2 * quant::kKvPageCells);
  const Region& k = planned.plan.regions.at(planned.plan.kv.at(1).k);
  // 2 KV heads of 64 values of 2 bytes
  EXPECT_EQ(k.size, Bytes(std::uint64_t{2} * 64 * 2 * planned.plan.shape.context));
}

TEST(Layout, scratch_has_a_place_for_every_value_and_less_than_their_sum) {
  const Planned planned = plan_on_cpu(test::llama_3_2_1b(), test::q4_k_m(16));
  const Plan& plan = planned.plan;
  Bytes sum;
  for (std::size_t value = 0; value < planned.program.values.size(); ++value) {
    const Region& region = plan.regions.at(plan.scratch.at(kCpu).values.at(value));
    const std::uint64_t rows = planned.program.values[value].outputs_only ? plan.shape.outputs : plan.shape.batch;
    EXPECT_EQ(region.size, Bytes(rows * planned.program.values[value].width * 4)) << region.name;
    sum += region.size;
  }
  sum += plan.regions.at(plan.scratch[kCpu].own.at(0)).size;
  EXPECT_LT(tier_total(plan, kCpu, Purpose::Scratch), sum);
}

TEST(Layout, the_activations_hold_the_widest_product) {
  const Planned planned = plan_on_cpu(test::llama_3_2_1b(), test::q4_k_m(16));
  const Region& region = planned.plan.regions.at(planned.plan.scratch[kCpu].own.at(0));
  EXPECT_EQ(region.size, quant::activation_bytes(quant::ActivationKind::Int8, 8192, 512));
}

TEST(Layout, the_load_buffer_begins_on_a_page_and_holds_sixteen_rows_of_every_matrix) {
  const Planned planned = plan_on_cpu(test::llama_3_8b(), test::all_of(TensorType::F32));
  const Region& region = planned.plan.regions.at(planned.plan.load_buffer);
  EXPECT_EQ(region.offset.value % 4096, 0U);
  EXPECT_GE(region.size.value, std::uint64_t{2} * 4 * 16 * 14336 * 4);
}

TEST(Layout, one_byte_less_than_the_total_is_refused) {
  Planned planned = plan_on_cpu(test::tiny(), test::all_of(TensorType::Q8_0));
  Options options;
  options.disk = false;
  options.ram_budget = tier_total(planned.plan, kCpu);
  EXPECT_NO_THROW(make_plan(planned.model, planned.program, machine(kGiB), options, engine::backends()));
  options.ram_budget = *options.ram_budget - Bytes(1);
  EXPECT_THROW(make_plan(planned.model, planned.program, machine(kGiB), options, engine::backends()), Error);
}

}  // namespace
}  // namespace loadline::plan
