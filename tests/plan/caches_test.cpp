// What caches of every kind cost in a plan: counted here from what the layers are.
#include <gtest/gtest.h>

#include <algorithm>

#include "authoring/shapes.h"
#include "engine/backends.h"
#include "model/program.h"
#include "plan/cache_pages.h"
#include "plan/crossing.h"
#include "plan/machines.h"
#include "plan/planner.h"
#include "plan/validate.h"
#include "support/refusal.h"

namespace loadline::plan {
namespace {

constexpr std::uint64_t kCells = 32;  // of a page

gguf::Model header(const char* shape) {
  return authoring::describe(*authoring::find_shape(shape), *model::find_mix("Q4_K_M"));
}

Plan plan_of(const gguf::Model& model, const Options& options) {
  const model::Program program = model::build_program(model);
  return make_plan(model, program, test::machine(2048 * kGiB), options, engine::backends());
}

std::uint64_t cache_bytes(const Plan& plan) {
  std::uint64_t bytes = 0;
  for (const Region& region : plan.regions) bytes += region.purpose == Purpose::KvCache ? region.size.value : 0;
  return bytes;
}

// 48 layers with 8 heads of 256 values, in 16 bits; every sixth sees everything, the others 1024 positions.
TEST(Caches, a_long_context_of_gemma_3_costs_what_its_windows_say) {
  Options options;
  options.context = 131072;
  const std::uint64_t cell = 2 * 8 * 256 * 2;
  // A pass of 512 tokens sees 1023 + 512 cells, which lie on 49 pages at most; a page more may be a copy.
  const std::uint64_t windows = 40 * 50 * kCells * cell;
  const std::uint64_t full = 8 * 131072 * cell;
  EXPECT_EQ(cache_bytes(plan_of(header("gemma-3-12b"), options)), windows + full);
  options.sequences = 4;
  // Four sequences of 1023 cells, and one pass.
  const std::uint64_t of_four = (4 * (1023 + 30) + 512) / kCells + 4 + 1;
  EXPECT_EQ(cache_bytes(plan_of(header("gemma-3-12b"), options)), 40 * of_four * kCells * cell + full);
  // A context that is no longer than the windows is kept whole.
  options.sequences = 1;
  options.context = 1024;
  EXPECT_EQ(cache_bytes(plan_of(header("gemma-3-12b"), options)), 48 * 1024 * cell);
}

// 27 layers that keep 512 + 64 values of every position.
TEST(Caches, latent_attention_costs_its_compressed_rows) {
  Options options;
  options.context = 32768;
  EXPECT_EQ(cache_bytes(plan_of(header("deepseek-v2-lite"), options)), 27 * 32768ULL * (512 + 64) * 2);
}

// Of 48 layers every fourth keeps every position, in 2 heads of 256 values; the others the last 3 rows of 8192 values,
// and 32 matrices of 128 by 128. Of states there are three for each sequence: before a pass, after it, and a snapshot.
TEST(Caches, states_cost_the_same_for_every_context) {
  Options options;
  options.sequences = 2;
  const std::uint64_t states = 36 * (3 * 8192 + 32 * 128 * 128) * 4ULL * 3 * 2;
  for (const std::uint32_t context : {4096U, 65536U}) {
    options.context = context;
    const std::uint64_t full = 12 * std::uint64_t{context} * 2 * 2 * 256 * 2;
    EXPECT_EQ(cache_bytes(plan_of(header("qwen3-next-80b-a3b"), options)), states + full);
  }
}

// Layers that read an earlier one's cache, as the last ones of Gemma 4 do.
TEST(Caches, groups_that_share_one_are_on_one_device) {
  const gguf::Model model = header("llama-3.2-1b");
  model::Program program = model::build_program(model);
  constexpr std::uint32_t kStores = 9;  // layer
  std::vector<std::uint32_t> together;
  for (std::uint32_t layer = kStores; layer < 16; ++layer) {
    together.push_back(1 + 2 * layer);
    if (layer == kStores) continue;
    std::vector<model::Op>& ops = program.groups.at(together.back()).ops;
    model::Op& op = *std::ranges::find(ops, model::OpKind::Attention, &model::Op::kind);
    auto attention = op.as<model::ops::Attention>();
    attention.cache = kStores;
    attention.stores = false;
    op = model::Op(attention, {op.inputs.front()}, op.outputs);
  }
  EXPECT_EQ(groups_that_share_caches(program), together);
  bool divided = false;
  for (const auto& [mebibytes, layers] : {std::pair{400, GpuLayers{}}, {900, {GpuLayers::Kind::Count, 3}}}) {
    Options options;
    options.context = 2048;
    options.gpu_budget = mebibytes * kMiB;
    options.gpu_layers = layers;
    const Plan plan = make_plan(model, program, test::machine(8 * kGiB, {"RTX 3060"}), options, engine::backends());
    const DeviceIndex device = plan.groups.at(together.front()).device;
    for (const std::uint32_t g : together) EXPECT_EQ(plan.groups.at(g).device, device) << g;
    const auto elsewhere = [&](const GroupPlacement& group) { return group.device != device; };
    divided = divided || std::any_of(plan.groups.begin() + 1, plan.groups.end(), elsewhere);
    // Nor is a plan from outside believed that divides them.
    Plan edited = plan;
    edited.groups.at(together.back()).device = device == kCpu ? 1 : kCpu;
    edited.prompt = {};
    test::expect_refused([&] { validate(edited, model, program, engine::backends(), "plan.json"); },
                         "which share a cache, between devices");
  }
  EXPECT_TRUE(divided);
}

TEST(Caches, the_longest_window_decides_and_none_is_longer_than_the_context) {
  model::Program program;
  Shape shape;
  shape.context = 4096;
  shape.batch = 64;
  EXPECT_FALSE(has_window_pages(program, shape));
  program.caches.push_back({.kind = model::CacheKind::Full});
  EXPECT_EQ(window_pages(program, shape), 0U);
  program.caches.push_back({.kind = model::CacheKind::Window, .window = 33});
  program.caches.push_back({.kind = model::CacheKind::Window, .window = 3});
  EXPECT_TRUE(has_window_pages(program, shape));
  // 32 + 64 cells on 4 pages.
  EXPECT_EQ(window_pages(program, shape), 5U);
  EXPECT_EQ(cache_pages(program, program.caches[2], shape), 5U);
  EXPECT_EQ(cache_pages(program, program.caches[0], shape), 128U);
  shape.context = 128;
  EXPECT_FALSE(has_window_pages(program, shape));
  EXPECT_EQ(cache_pages(program, program.caches[1], shape), 4U);
}

}  // namespace
}  // namespace loadline::plan
