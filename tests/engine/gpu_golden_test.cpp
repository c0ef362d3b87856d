// Golden logits with the model on a GPU, in whole and in parts: llvmpipe, once or twice, under the validation layer
// (whose messages are errors).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "backend/reference/reference.h"
#include "backend/vulkan/gpu.h"
#include "base/error.h"
#include "engine/backends.h"
#include "engine/benchmark.h"
#include "engine/divided.h"
#include "engine/engine.h"
#include "engine/golden.h"
#include "engine/loaded.h"
#include "hardware/probe.h"
#include "plan/budgets.h"
#include "plan/layout.h"
#include "plan/planner.h"
#include "support/allocations.h"
#include "support/test_data.h"

namespace loadline::engine {
namespace {

namespace fs = std::filesystem;
using test::Golden;
const std::atomic<bool> kNeverStop{false};

// A way to divide a model of two layers: the device of each group (embedding, attention 0, feed-forward 0, attention 1,
// feed-forward 1, output); 0 is the CPU, 1 and 2 are GPUs.
struct Division {
  std::string name;
  std::array<plan::DeviceIndex, 6> devices;
  bool kv_on_cpu = false;
  // Groups of the CPU whose weights go through the first GPU in passes of 16 tokens and more (of an attention those of
  // its projections); the last feed-forward cannot.
  std::vector<std::uint32_t> through = {};
};
constexpr plan::DeviceIndex kCpu = 0, kGpu = 1, kSecond = 2;
const Division kWhole = {"Whole", {kGpu, kGpu, kGpu, kGpu, kGpu, kGpu}};
const Division kDivisions[] = {
    {"EmbeddingOnTheCpu", {kCpu, kGpu, kGpu, kGpu, kGpu, kGpu}},
    {"OutputOnTheCpu", {kGpu, kGpu, kGpu, kGpu, kGpu, kCpu}},
    {"LastLayer", {kCpu, kCpu, kCpu, kGpu, kGpu, kGpu}},
    {"FirstLayer", {kGpu, kGpu, kGpu, kCpu, kCpu, kCpu}},
    {"AttentionOnly", {kCpu, kGpu, kCpu, kGpu, kCpu, kCpu}},
    {"FeedForwardOnly", {kCpu, kCpu, kGpu, kCpu, kGpu, kCpu}},
    {"OutputOnly", {kCpu, kCpu, kCpu, kCpu, kCpu, kGpu}},
    {"TwoGpus", {kGpu, kGpu, kGpu, kSecond, kSecond, kSecond}},
    {"TwoGpusAndTheCpu", {kSecond, kGpu, kCpu, kSecond, kGpu, kSecond}},
    {"CacheInRam", {kGpu, kGpu, kGpu, kGpu, kGpu, kGpu}, true},
    {"PromptsThroughTheGpu", {kCpu, kCpu, kCpu, kCpu, kCpu, kCpu}, false, {2}},
    {"PromptsWithTheirAttentionThroughTheGpu", {kCpu, kCpu, kCpu, kCpu, kCpu, kCpu}, false, {1, 2, 3}},
    {"OnlyAttentionThroughTheGpu", {kCpu, kCpu, kGpu, kCpu, kCpu, kSecond}, false, {1, 3}},
    {"PromptsThroughAGpuThatHasAttention", {kCpu, kGpu, kCpu, kGpu, kCpu, kSecond}, false, {2}},
};

const Division& division_named(std::string_view name) { return *std::ranges::find(kDivisions, name, &Division::name); }

using test::GpuLogits;
using test::identifier;
using test::machine_with_gpus;
using test::Settings;

std::unique_ptr<Engine> load(const fs::path& file, std::size_t tokens, const Division& division,
                             const Settings& settings, const Engine::Options& hooks = test::not_alone()) {
  const auto device_of = [&](std::size_t group) { return division.devices.at(group); };
  return test::load_divided(file, tokens, {device_of, division.kv_on_cpu, division.through}, settings, hooks);
}

std::vector<float> logits(const fs::path& file, const std::vector<std::int32_t>& tokens, const Division& division,
                          const Settings& settings = {}) {
  const auto engine = load(file, tokens.size(), division, settings);
  const std::vector<float> all = test::score(*engine, tokens);
  for (const plan::DeviceIndex device : division.devices) EXPECT_GT(engine->executor().busy_seconds(device), 0);
  if (!division.through.empty()) {
    EXPECT_GT(engine->executor().busy_seconds(kGpu), 0);
  }
  return all;
}

class WholeModels : public GpuLogits, public testing::WithParamInterface<Golden> {};
INSTANTIATE_TEST_SUITE_P(Files, WholeModels, testing::ValuesIn(test::golden_files()),
                         [](const auto& file) { return identifier(file.param.name); });

TEST_P(WholeModels, AgreeWithTheGoldenLogits) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = test::golden_tokens(folder);
  const auto actual = logits(folder / (GetParam().name + ".gguf"), tokens, kWhole);
  test::expect_within(test::compare(test::golden_logits(folder, GetParam()), actual, tokens.size()), GetParam());
}

using DividedFile = std::tuple<std::string, Division>;
class DividedModels : public GpuLogits, public testing::WithParamInterface<DividedFile> {};
INSTANTIATE_TEST_SUITE_P(Files, DividedModels,
                         testing::Combine(testing::Values("llama-F32", "qwen3-Q4_K_M"), testing::ValuesIn(kDivisions)),
                         [](const auto& row) {
                           return identifier(std::get<0>(row.param)) + "_" + std::get<1>(row.param).name;
                         });

// The other files: every format on both sides of a division, and on its way through a GPU.
std::vector<std::string> other_files() {
  std::vector<std::string> names;
  for (const Golden& golden : test::golden_files()) {
    if (golden.name != "llama-F32" && golden.name != "qwen3-Q4_K_M") names.push_back(golden.name);
  }
  return names;
}
INSTANTIATE_TEST_SUITE_P(OtherFiles, DividedModels,
                         testing::Combine(testing::ValuesIn(other_files()),
                                          testing::Values(division_named("TwoGpusAndTheCpu"),
                                                          division_named("PromptsWithTheirAttentionThroughTheGpu"))),
                         [](const auto& row) {
                           return identifier(std::get<0>(row.param)) + "_" + std::get<1>(row.param).name;
                         });

TEST_P(DividedModels, AgreeWithTheGoldenLogits) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto& [name, division] = GetParam();
  const auto tokens = test::golden_tokens(folder);
  const auto golden = std::ranges::find(test::golden_files(), name, &Golden::name);
  const auto actual = logits(folder / (name + ".gguf"), tokens, division);
  test::expect_within(test::compare(test::golden_logits(folder, *golden), actual, tokens.size()), *golden);
}

TEST_F(GpuLogits, AreMadeFromTheOraclesStates) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = test::golden_tokens(folder);
  const fs::path file = folder / "llama-F32.gguf";
  const gguf::Model model = gguf::open_model(file);
  const auto expected = reference::states(model, model::build_program(model), tokens);
  for (const Division& division : {kWhole, division_named("OutputOnTheCpu"), division_named("OutputOnly")}) {
    const auto engine = load(file, tokens.size(), division, {});
    const auto states = test::states(*engine, tokens, exec::States::All);
    EXPECT_GT(test::least_cosine(expected, states, tokens.size()), 0.99999) << division.name;
  }
}

// What -ot says reaches the device: the planner's groups, not a division of ours.
TEST_F(GpuLogits, AgreeWithTheGoldenLogitsUnderTensorOverrides) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const fs::path file = folder / "llama-F32.gguf";
  const auto tokens = test::golden_tokens(folder);
  plan::Options options;
  options.context = static_cast<std::uint32_t>(tokens.size());
  options.outputs = options.batch;
  options.k_type = options.v_type = quant::TensorType::F32;
  options.gpu_layers.kind = plan::GpuLayers::Kind::All;
  options.overrides = {{"ffn_(gate|up)", kSecond}, {"blk\\.1\\.attn", kCpu}};
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  plan::Plan plan = plan::make_plan(model, program, machine_with_gpus(file, 2), options, engine::backends());
  const std::array<plan::DeviceIndex, 2> wanted = {kCpu, kSecond};  // attention and feed-forward of the second layer
  for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(plan.groups.at(3 + i).device, wanted.at(i));
  const auto engine = test::load(std::move(model), std::move(program), std::move(plan));
  const std::vector<float> all = test::score(*engine, tokens);
  const auto golden = std::ranges::find(test::golden_files(), "llama-F32", &Golden::name);
  test::expect_within(test::compare(test::golden_logits(folder, *golden), all, tokens.size()), *golden);
}

// --vram with less than the model: the planner itself divides it, weights and cache on both sides, to the last group.
TEST_F(GpuLogits, AgreeWithTheGoldenLogitsUnderABudget) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = test::golden_tokens(folder);
  for (const char* name : {"llama-F32", "qwen3-Q4_K_M"}) {
    const fs::path file = folder / (std::string(name) + ".gguf");
    gguf::Model model = gguf::open_model(file);
    model::Program program = model::build_program(model);
    hardware::Profile machine = machine_with_gpus(file, 1);
    // So slow a CPU that the GPU is filled, whatever the fixed costs of such a small model.
    machine.ram.read_bandwidth = {1e6, 1e6};
    machine.cpu.model = "one whose kernels nobody measured";
    machine.gpus[0].memory_bandwidth = 1e12;
    plan::Options options;
    options.context = static_cast<std::uint32_t>(tokens.size());
    options.outputs = options.batch;
    options.threads = 2;
    options.k_type = options.v_type = quant::TensorType::F32;
    const Bytes all = plan::tier_total(plan::make_plan(model, program, machine, options, engine::backends()), kGpu);
    options.gpu_budget = all / 5 * 3;
    plan::Plan plan = plan::make_plan(model, program, machine, options, engine::backends());
    const Bytes held = plan::tier_total(plan, kGpu);
    EXPECT_LE(held, *options.gpu_budget);
    bool kv_on_both = true;
    for (const std::uint32_t tier : {kCpu, kGpu}) {
      EXPECT_GT(plan::tier_total(plan, tier, plan::Purpose::Weights), Bytes(0)) << name;
      kv_on_both = kv_on_both && plan::tier_total(plan, tier, plan::Purpose::KvCache) > Bytes(0);
    }
    EXPECT_TRUE(kv_on_both || name != std::string("llama-F32"));
    const auto engine = test::load(std::move(model), std::move(program), std::move(plan));
    const std::vector<float> logits = test::score(*engine, tokens);
    const auto golden = std::ranges::find(test::golden_files(), name, &Golden::name);
    test::expect_within(test::compare(test::golden_logits(folder, *golden), logits, tokens.size()), *golden);
  }
}

std::vector<std::int32_t> sixty_tokens(const fs::path& folder) {
  std::vector<std::int32_t> tokens = test::golden_tokens(folder);
  while (tokens.size() < 60) tokens.push_back(tokens[tokens.size() % 32]);
  tokens.resize(60);
  return tokens;
}

// Two halves of a pass on two devices at a time are what they are one after the other: to the last bit, since no row's
// arithmetic depends on how the pass is divided here.
class OverlappedHalves : public GpuLogits, public testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Divisions, OverlappedHalves,
                         testing::Values("LastLayer", "FirstLayer", "AttentionOnly", "FeedForwardOnly", "TwoGpus",
                                         "TwoGpusAndTheCpu", "OutputOnTheCpu"));

TEST_P(OverlappedHalves, GiveTheSameLogits) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const Division& division = division_named(GetParam());
  const fs::path file = folder / "llama-F32.gguf";
  const std::vector<std::int32_t> repeated = sixty_tokens(folder);
  const std::span<const std::int32_t> tokens = repeated;
  Engine::Options hooks = test::not_alone();
  hooks.overlap_from = 1000;
  const auto apart = load(file, 128, division, {}, hooks);
  hooks.overlap_from = 40;
  const auto together = load(file, 128, division, {}, hooks);
  const auto last_logits = [&](Engine& engine, std::span<const std::int32_t> part, exec::Want want) {
    const exec::Input input{0, part, want};
    EXPECT_TRUE(engine.executor().forward({&input, 1}, kNeverStop));
    if (want == exec::Want::None) return std::vector<float>();
    const auto row = engine.executor().logits(0);
    return std::vector<float>(row.begin(), row.end());
  };
  // The reference takes the halves, 32 tokens and 28, in passes of their own.
  last_logits(*apart, tokens.first(32), exec::Want::None);
  const auto expected = last_logits(*apart, tokens.subspan(32), exec::Want::Last);
  EXPECT_EQ(last_logits(*together, tokens, exec::Want::Last), expected);
  EXPECT_EQ(apart->executor().overlapped_passes(), 0U);
  EXPECT_EQ(together->executor().overlapped_passes(), 1U);
  // What both left in the cache is the same: the next token's logits are.
  EXPECT_EQ(last_logits(*together, tokens.first(1), exec::Want::Last),
            last_logits(*apart, tokens.first(1), exec::Want::Last));
  // A pass that wants logits of all its tokens goes as a whole.
  const exec::Input every{0, tokens.first(40), exec::Want::All};
  EXPECT_TRUE(together->executor().forward({&every, 1}, kNeverStop));
  EXPECT_EQ(together->executor().overlapped_passes(), 1U);
}

TEST_F(GpuLogits, OfHalvesThatWereStoppedLeaveTheCacheAsItWas) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const std::vector<std::int32_t> tokens = sixty_tokens(folder);
  Engine::Options hooks = test::not_alone();
  hooks.overlap_from = 40;
  const auto engine = load(folder / "llama-F32.gguf", 128, division_named("AttentionOnly"), {}, hooks);
  const exec::Input input{0, tokens, exec::Want::Last};
  const std::atomic<bool> stopped{true};
  EXPECT_FALSE(engine->executor().forward({&input, 1}, stopped));
  EXPECT_EQ(engine->executor().cache().length(0), 0U);
  EXPECT_EQ(engine->executor().logits_rows(), 0U);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(engine->executor().forward({&input, 1}, kNeverStop));
  EXPECT_THROW(engine->executor().forward({&input, 1}, kNeverStop), Error) << "the context holds 128 tokens";
  EXPECT_EQ(engine->executor().cache().length(0), 120U);
}

// After loading nothing is allocated, in passes of any size, halved ones and those whose weights pass through included.
// (Without the validation layer, which does.)
TEST_F(GpuLogits, TakeNoMemoryAfterLoading) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  ::unsetenv("LOADLINE_VULKAN_VALIDATION");
  const std::vector<std::int32_t> tokens = sixty_tokens(folder);
  Engine::Options hooks = test::not_alone();
  hooks.overlap_from = 40;
  for (const char* name : {"AttentionOnly", "PromptsWithTheirAttentionThroughTheGpu"}) {
    const auto engine = load(folder / "llama-F32.gguf", 512, division_named(name), {}, hooks);
    const auto passes = [&] {
      for (const std::size_t count : {60U, 20U, 5U, 1U}) {
        const exec::Input input{0, std::span(tokens).first(count), exec::Want::Last};
        ASSERT_TRUE(engine->executor().forward({&input, 1}, kNeverStop));
      }
    };
    passes();
    const loadline::test::AllocationWatch watch;
    passes();
    EXPECT_EQ(watch.count(), 0U) << name;
  }
}

TEST_F(GpuLogits, AreMeasuredDeviceByDevice) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto engine = load(folder / "llama-F32.gguf", 32, division_named("PromptsThroughTheGpu"), {});
  EXPECT_EQ(engine->measure(kCpu).float_ops, 0);
  EXPECT_GT(engine->measure(kGpu).float_ops, 0);
  const auto rows = benchmark(*engine, {.prompt = 16, .generate = 2, .repeats = 1}, kNeverStop);
  ASSERT_EQ(rows.size(), 2U);
  // The prompt is divided between the two; a token is all the CPU's.
  ASSERT_EQ(rows[0].parts.size(), 2U);
  EXPECT_TRUE(rows[1].parts.empty());
  double busy = 0;
  double ops = 0;
  for (const BenchmarkRow::Part& part : rows[0].parts) {
    EXPECT_GT(part.busy, 0);
    EXPECT_GT(part.bytes_per_token, 0);
    busy += part.busy;
    ops += part.ops_per_token;
  }
  EXPECT_LE(busy, 1.0);
  EXPECT_DOUBLE_EQ(ops, rows[0].ops_per_token);
}

TEST_F(GpuLogits, AreTheSameInBatchesOfAnySize) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = test::golden_tokens(folder);
  const auto together = logits(folder / "llama-F32.gguf", tokens, kWhole);
  for (const std::uint32_t batch : {1U, 3U, 17U}) {
    const auto split = logits(folder / "llama-F32.gguf", tokens, kWhole, {.batch = batch});
    EXPECT_LT(test::compare(together, split, tokens.size()).absolute, 1e-3) << "batch " << batch;
  }
}

TEST_F(GpuLogits, StayCloseWithSmallerCacheTypesAndASplitCache) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = test::golden_tokens(folder);
  const fs::path file = folder / "llama-F32.gguf";
  const auto full = logits(file, tokens, kWhole);
  for (const std::uint32_t batch : {512U, 2U}) {
    const auto half = logits(file, tokens, kWhole, {.batch = batch, .kv = quant::TensorType::F16, .context = 2048});
    EXPECT_LT(test::compare(full, half, tokens.size()).kl, 1e-5);
    const auto eight = logits(file, tokens, kWhole, {.batch = batch, .kv = quant::TensorType::Q8_0, .context = 2048});
    EXPECT_LT(test::compare(full, eight, tokens.size()).kl, 1e-3);
  }
}

}  // namespace
}  // namespace loadline::engine
