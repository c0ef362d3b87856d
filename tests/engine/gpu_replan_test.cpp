// A plan is replaced by one that has layers on other devices: what caches hold goes along, GPUs stay open, and what is
// the same on them is not loaded again. With llvmpipe, under the validation layer.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "engine/divided.h"
#include "engine/guesses.h"
#include "engine/interruption.h"
#include "engine/kept_caches.h"
#include "engine/kept_gpus.h"
#include "support/test_data.h"

namespace loadline::engine {
namespace {

using test::GpuLogits;
using test::Listener;
using test::Settings;
using Token = std::int32_t;

// The device of each group: embedding, attention 0, feed-forward 0, attention 1, feed-forward 1, output.
struct Division {
  std::string name;
  std::array<plan::DeviceIndex, 6> devices;
  bool kv_on_cpu = false;
};
const Division kRam = {"Ram", {0, 0, 0, 0, 0, 0}};
const Division kGpu = {"Gpu", {1, 1, 1, 1, 1, 1}};
const Division kFirst = {"FirstLayer", {1, 1, 1, 0, 0, 0}};
const Division kLast = {"LastLayer", {0, 0, 0, 1, 1, 1}};
const Division kTwo = {"TwoGpus", {1, 1, 1, 2, 2, 2}};
const Division kSecond = {"SecondGpu", {2, 2, 2, 2, 2, 2}};
const Division kPartOfLast = {"AttentionOfTheLast", {0, 1, 1, 1, 0, 0}};
const Division kPartOfFirst = {"FeedForwardOfTheFirst", {0, 0, 1, 1, 1, 1}};
const Division kAllButLastFeedForward = {"AllButTheLastFeedForward", {1, 1, 1, 1, 0, 1}};
const Division kPartOfLastCacheInRam = {"AttentionOfTheLastWithCachesInRam", {0, 1, 1, 1, 0, 0}, true};
const Division kCacheInRam = {"CacheInRam", {1, 1, 1, 1, 1, 1}, true};

struct Change {
  Division from, to;
  quant::TensorType kv = quant::TensorType::F32;
};

// Of a text, in tokens; a page has 32. `before`: the plan is changed after so many.
struct Lengths {
  std::size_t prompt = 40, before = 50, text = 70;
};
constexpr std::size_t kPrompt = Lengths().prompt, kText = Lengths().text;
constexpr plan::DeviceIndex kTheGpu = 1;

std::filesystem::path file_of(const std::filesystem::path& folder) { return folder / "llama-F32.gguf"; }

Settings settings_of(quant::TensorType kv) { return {.batch = 64, .kv = kv, .context = 128}; }

test::Places places_of(const Division& division) {
  return {[devices = division.devices](std::size_t group) { return devices.at(group); }, division.kv_on_cpu};
}

test::Places all_in_ram() {
  return {[](std::size_t) { return plan::kCpu; }};
}

plan::Plan plan_of(const std::filesystem::path& file, const Division& division, const Settings& settings) {
  const gguf::Model model = gguf::open_model(file);
  const model::Program program = model::build_program(model);
  return test::plan_divided(model, program, file, kText, places_of(division), settings);
}

// A session that is made to say a text; what it would have said is compared with what the CPU alone would.
class ForcedText {
 public:
  ForcedText(const std::filesystem::path& file, const Settings& settings, const Lengths& lengths = {})
      : lengths_(lengths), text_(test::some_text(lengths.text, 1)) {
    const auto alone = test::load_divided(file, lengths.text, all_in_ram(), settings);
    rows_ = test::score(*alone, text_);
  }

  void join(Engine& engine) {
    listener_.emplace(test::Wanted{.draw = [this](std::span<const float> logits) { return next(logits); }});
    exec::SessionOptions session;
    session.prompt = std::span(text_).first(lengths_.prompt);
    session.most_tokens = static_cast<std::int64_t>(lengths_.text - lengths_.prompt);
    apart_ = 0;
    ASSERT_TRUE(engine.scheduler().join(session, *listener_));
    while (lengths_.prompt + listener_->tokens.size() < lengths_.before && engine.scheduler().step()) {
    }
  }
  // To its end, where every row is within `most` of the CPU's.
  void finish(Engine& engine, double most = 2e-3) {
    engine.run(test::kNeverStop);
    EXPECT_EQ(lengths_.prompt + listener_->tokens.size(), lengths_.text);
    EXPECT_LT(apart_, most);
  }
  [[nodiscard]] std::size_t tokens() const { return lengths_.prompt + listener_->tokens.size() - 1; }  // in the cache
  [[nodiscard]] std::size_t shared() const { return listener_->result.shared_tokens; }

 private:
  Token next(std::span<const float> logits) {
    const std::size_t at = lengths_.prompt + listener_->tokens.size();
    const float* row = rows_.data() + (at - 1) * logits.size();
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double difference = std::fabs(double{logits[i]} - row[i]);
      apart_ = std::isnan(difference) ? HUGE_VAL : std::max(apart_, difference);
    }
    return text_.at(at);
  }

  Lengths lengths_;
  std::vector<Token> text_;
  std::vector<float> rows_;
  std::optional<Listener> listener_;
  double apart_ = 0;
};

using ReplanOnGpus = GpuLogits;
class DividedReplan : public GpuLogits, public testing::WithParamInterface<Change> {};

std::vector<Change> changes() {
  std::vector<Change> all;
  for (const Division& from : {kRam, kGpu, kFirst, kLast, kTwo, kSecond}) {
    for (const Division& to : {kRam, kGpu, kFirst, kLast, kTwo, kSecond}) all.push_back({from, to});
  }
  for (const quant::TensorType kv : {quant::TensorType::F16, quant::TensorType::Q8_0}) {
    all.push_back({kGpu, kRam, kv});
    all.push_back({kFirst, kLast, kv});
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Divisions, DividedReplan, testing::ValuesIn(changes()), [](const auto& row) {
  return row.param.from.name + "To" + row.param.to.name + "_" + std::string(quant::name_of(row.param.kv));
});

TEST_P(DividedReplan, WhatCachesHoldGoesAlong) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto& [from, to, kv] = GetParam();
  const Settings settings = settings_of(kv);
  ForcedText text(file_of(folder), settings);
  const auto engine = test::load_divided(file_of(folder), kText, places_of(from), settings);
  text.join(*engine);
  const plan::Plan next = plan_of(file_of(folder), to, settings);
  const Interruption predicted = predict_interruption(*engine, next, test::machine_with_gpus(file_of(folder), 2));
  ASSERT_TRUE(engine->replan(next, {}, test::kNeverStop));
  EXPECT_EQ(engine->tokens_again(), 0U);
  EXPECT_EQ(engine->load_figures().caches, plan::devices_total(next, plan::Purpose::KvCache));
  EXPECT_EQ(predicted.tokens, 0U);
  EXPECT_EQ(predicted.kept_tokens, text.tokens());
  EXPECT_EQ(predicted.kept, engine->load_figures().kept);
  text.finish(*engine, kv == quant::TensorType::Q8_0 ? 0.05 : 5e-4);
}

// Windows, states and the compressed cache. The last two have another order on another kind of device, and are computed
// again there.
class ReplannedFamilies : public GpuLogits, public testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Files, ReplannedFamilies,
                         testing::Values("gemma3", "cohere2", "gemma4", "gpt-oss", "lfm2", "granitehybrid", "qwen3next",
                                         "deepseek-v3"),
                         [](const auto& row) { return test::identifier(row.param); });

TEST_P(ReplannedFamilies, GoOnWhereverTheirCachesAre) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const std::filesystem::path file = folder / (GetParam() + "-F32.gguf");
  const Settings settings{.batch = 32, .context = 512};
  const gguf::Model model = gguf::open_model(file);
  const model::Program program = model::build_program(model);
  ForcedText text(file, settings);
  const test::Places gpu = {[](std::size_t) { return kTheGpu; }};
  const test::Places first_half = {
      [&](std::size_t group) { return group <= program.groups.size() / 2 ? kTheGpu : plan::kCpu; }};
  const test::Places ram = all_in_ram();
  const auto places_here = [&](const test::Places& places) {
    return test::plan_divided(model, program, file, kText, places, settings);
  };
  const auto more = places_here({[&](std::size_t group) { return group == 0 ? plan::kCpu : kTheGpu; }});
  std::vector<plan::Plan> plans = {places_here(gpu), more, places_here(ram)};
  // Layers that share a cache stay together.
  if (GetParam() != "gemma4") plans.push_back(places_here(first_half));
  for (const plan::Plan& next : plans) {
    const auto engine = test::load_divided(file, kText, gpu, settings);
    text.join(*engine);
    ASSERT_TRUE(engine->replan(next, {}, test::kNeverStop));
    bool lost = false;
    for (std::size_t i = 0; i < next.kv.size(); ++i) {
      const model::CacheKind kind = program.caches[i].kind;
      const bool known = kind == model::CacheKind::Full || kind == model::CacheKind::Window;
      lost = lost || (!known && next.kv[i].device == plan::kCpu);
    }
    EXPECT_EQ(engine->tokens_again(), lost ? text.tokens() : 0U);
    text.finish(*engine);
  }
}

Bytes weights_of(const plan::Plan& plan, plan::DeviceIndex device) {
  Bytes bytes;
  for (const plan::Region& region : plan.regions) {
    const bool here = region.purpose == plan::Purpose::Weights && plan.arenas[region.arena].tier == device;
    if (here) bytes += region.size;
  }
  return bytes;
}

// Of weights that are on a device now and were not, and of those of a GPU that are read `again`: a name's beginning.
Bytes coming(const plan::Plan& before, const plan::Plan& after, const std::string& again) {
  const auto place = [](const plan::Plan& plan, const plan::Region& region) {
    return std::pair(plan.arenas[region.arena].tier, region.name);
  };
  std::set<std::pair<std::uint32_t, std::string>> there;
  for (const plan::Region& region : before.regions) there.insert(place(before, region));
  Bytes bytes;
  for (const plan::Region& region : after.regions) {
    const bool once_more =
        !again.empty() && region.name.starts_with(again) && after.arenas[region.arena].tier == kTheGpu;
    const bool comes = once_more || !there.contains(place(after, region));
    if (region.purpose == plan::Purpose::Weights && comes) bytes += region.size;
  }
  return bytes;
}

// Through a Vulkan loader that counts what is allocated, and says how much there is (squeezed_vulkan.cpp).
class CountedGpus : public GpuLogits {
 protected:
  void SetUp() override {
    GpuLogits::SetUp();
    const char* counting = std::getenv("LOADLINE_SQUEEZED_VULKAN");
    ASSERT_NE(counting, nullptr);
    ::setenv("LOADLINE_VULKAN_LIBRARY", counting, 1);
    most_allocated_ =
        reinterpret_cast<MostAllocated*>(::dlsym(::dlopen(counting, RTLD_NOW | RTLD_LOCAL), "most_allocated_since"));
    ASSERT_NE(most_allocated_, nullptr);
    most_allocated_();
    ::setenv("LOADLINE_TEST_MEMORY_BUDGET", budget_file().c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("LOADLINE_VULKAN_LIBRARY");
    ::unsetenv("LOADLINE_TEST_MEMORY_BUDGET");
  }

  // From now on that is all that drivers have for this process.
  void give(Bytes all) const { std::ofstream(budget_file()) << all.value; }
  // At a time, since this was last asked.
  [[nodiscard]] Bytes most_allocated() const { return Bytes(most_allocated_()); }
  // What GPUs hold by a plan, in their memory and in their drivers'.
  static Bytes held(const plan::Plan& plan) {
    Bytes bytes;
    for (std::uint32_t i = 0; i < plan.arenas.size(); ++i) {
      const bool counts = plan.arenas[i].purpose != plan::Purpose::Runtime && plan::holder_of(plan, i) != plan::kCpu;
      if (counts) bytes += plan.arenas[i].size;
    }
    return bytes;
  }

 private:
  using MostAllocated = std::uint64_t();
  [[nodiscard]] std::filesystem::path budget_file() const { return folder_.path() / "budget"; }

  MostAllocated* most_allocated_ = nullptr;
  test::TemporaryFolder folder_;
};

// Layers come to a GPU that has others, or leave it; also where it then has one part of a layer and had both. There is
// no room for both places of what stays of a layer where nothing else leaves: that is read again.
class OtherLayersOnAGpu : public CountedGpus, public testing::WithParamInterface<Change> {};
INSTANTIATE_TEST_SUITE_P(Divisions, OtherLayersOnAGpu,
                         testing::Values(Change{kGpu, kFirst}, Change{kFirst, kGpu}, Change{kGpu, kLast},
                                         Change{kLast, kGpu}, Change{kGpu, kPartOfLast}, Change{kPartOfLast, kGpu},
                                         Change{kFirst, kPartOfLast}, Change{kTwo, kPartOfLast},
                                         Change{kGpu, kPartOfFirst}, Change{kPartOfFirst, kGpu},
                                         Change{kGpu, kAllButLastFeedForward}, Change{kGpu, kPartOfLastCacheInRam}),
                         [](const auto& row) { return row.param.from.name + "To" + row.param.to.name; });

TEST_P(OtherLayersOnAGpu, OnlyWhatComesIsReadAndNoMoreHeldMeanwhileThanByTheLargerPlan) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto& [from, to, kv] = GetParam();
  const Settings settings = settings_of(kv);
  ForcedText text(file_of(folder), settings);
  const auto engine = test::load_divided(file_of(folder), kText, places_of(from), settings);
  text.join(*engine);
  const plan::Plan before = engine->plan();
  const plan::Plan next = plan_of(file_of(folder), to, settings);
  const Interruption predicted = predict_interruption(*engine, next, test::machine_with_gpus(file_of(folder), 2));
  EXPECT_EQ(most_allocated(), held(before));
  give(held(next) + plan::tier_total(next, kTheGpu, plan::Purpose::Runtime));
  ASSERT_TRUE(engine->replan(next, {}, test::kNeverStop));
  const bool twice = from.name == kPartOfFirst.name || to.name == kPartOfFirst.name;
  const bool attention_twice = to.name == kAllButLastFeedForward.name;
  const Bytes read = coming(before, next, twice ? "blk.0.ffn" : attention_twice ? "blk.1.attn" : "");
  EXPECT_EQ(engine->load_figures().weights, read);
  EXPECT_EQ(engine->load_figures().kept,
            weights_of(next, plan::kCpu) + weights_of(next, 1) + weights_of(next, 2) - read);
  EXPECT_EQ(predicted.weights, engine->load_figures().weights);
  EXPECT_EQ(predicted.kept, engine->load_figures().kept);
  EXPECT_NO_THROW(engine->verify());
  // Caches that cross pass through memory that drivers give, a MiB for each GPU.
  const bool cross = !std::ranges::equal(before.kv, next.kv, {}, &plan::KvRegions::device, &plan::KvRegions::device);
  EXPECT_LE(most_allocated(), std::max(held(before), held(next)) + (cross ? 2 * kMiB : Bytes(0)));
  EXPECT_EQ(most_allocated(), held(next));
  EXPECT_EQ(engine->tokens_again(), to.kv_on_cpu ? text.tokens() : 0U);  // a driver's memory takes none from elsewhere
  text.finish(*engine);
}

// What pages hold is told by the pool that they are of: an earlier text filled page 1 of the full caches by a quarter,
// and those of windows have it anew since, full.
TEST_F(ReplanOnGpus, PagesOfWindowsGoAlongAsTheirOwnPoolHasThem) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const std::filesystem::path file = folder / "gemma3-F32.gguf";
  const Settings settings{.batch = 32, .context = 512};
  const Lengths lengths{.prompt = 70, .before = 92, .text = 100};
  ForcedText text(file, settings, lengths);
  const test::Places gpu = {[](std::size_t) { return kTheGpu; }};
  const auto engine = test::load_divided(file, lengths.text, gpu, settings);
  const plan::Plan next =
      test::plan_divided(engine->model(), engine->program(), file, lengths.text, all_in_ram(), settings);
  test::score(*engine, test::some_text(40, 2));
  text.join(*engine);
  const exec::KvCache& cache = engine->executor().cache();
  ASSERT_NE(cache.window_pool(), nullptr);
  ASSERT_EQ(cache.window_pages(0)[2], 1U);
  ASSERT_EQ(cache.window_pool()->known(1), 91U - 64U);
  ASSERT_EQ(cache.pool().known(1), 8U);
  ASSERT_TRUE(engine->replan(next, {}, test::kNeverStop));
  EXPECT_EQ(engine->tokens_again(), 0U);
  text.finish(*engine);
}

// The arena on the GPU that has the tensors of such a name.
std::uint32_t arena_of(const plan::Plan& plan, const std::string& name) {
  const auto found = std::ranges::find_if(plan.regions, [&](const plan::Region& region) {
    return region.name.starts_with(name) && plan.arenas[region.arena].tier == kTheGpu;
  });
  return found == plan.regions.end() ? plan::kNoRegion : found->arena;
}

// With so much for scratch and staging on the GPU, which is given back before anything is moved.
plan::Plan with_room(plan::Plan plan, Bytes room) {
  const auto scratch = std::ranges::find_if(plan.arenas, [](const plan::Arena& arena) {
    return arena.tier == kTheGpu && arena.purpose == plan::Purpose::Scratch;
  });
  scratch->size = room - plan::tier_total(plan, kTheGpu, plan::Purpose::Staging);
  return plan;
}

std::set<std::string> names_of(const plan::Plan& plan, const std::vector<KeptRegion>& regions) {
  std::set<std::string> names;
  for (const KeptRegion& region : regions) names.insert(plan.regions[region.after].name);
  return names;
}

// Both places of what is copied count, as large as they are allocated.
TEST_F(ReplanOnGpus, WeightsAreNotCopiedWhereMoreWouldBeHeldThanByEitherPlan) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const Settings settings = settings_of(quant::TensorType::F32);
  const plan::Plan whole = plan_of(file_of(folder), kGpu, settings);
  const plan::Plan part = plan_of(file_of(folder), kAllButLastFeedForward, settings);
  const auto kept_with = [&](Bytes room) {
    return weights_on_gpu(with_room(whole, room), with_room(part, room), kTheGpu);
  };
  const Bytes attention = part.arenas.at(arena_of(part, "blk.1.attn")).size;
  const WeightsOnGpu roomy = kept_with(attention);
  EXPECT_EQ(roomy.stay.size(), 3U);  // the embedding, the first layer and the output
  EXPECT_TRUE(names_of(part, roomy.copied).contains("blk.1.attn_q.weight"));
  const WeightsOnGpu tight = kept_with(attention - Bytes(1));
  EXPECT_EQ(tight.stay.size(), 3U);
  EXPECT_TRUE(tight.copied.empty());
}

// The smaller of two parts goes first: once it is copied, what it was in is given back, and that is room for the other.
TEST_F(CountedGpus, WhatIsCopiedMakesRoomForMore) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const Settings settings = settings_of(quant::TensorType::F32);
  const plan::Plan parts = plan_of(file_of(folder), {"APartOfEach", {1, 0, 1, 1, 0, 1}}, settings);
  const Bytes attention = parts.arenas.at(arena_of(parts, "blk.1.attn")).size;
  ASSERT_LT(attention, parts.arenas.at(arena_of(parts, "blk.0.ffn")).size);
  ForcedText text(file_of(folder), settings);
  const auto engine = test::load_divided(file_of(folder), kText, places_of(kGpu), settings);
  ASSERT_GT(attention, plan::tier_total(engine->plan(), kTheGpu, plan::Purpose::Scratch));  // which is made more
  const plan::Plan before = with_room(engine->plan(), attention);
  const plan::Plan next = with_room(parts, attention);
  ASSERT_TRUE(engine->replan(before, {}, test::kNeverStop));
  text.join(*engine);
  static_cast<void>(most_allocated());  // begins anew
  ASSERT_TRUE(engine->replan(next, {}, test::kNeverStop));
  EXPECT_EQ(engine->load_figures().kept, weights_of(next, kTheGpu));
  EXPECT_LE(most_allocated(), std::max(held(before), held(next)));
  EXPECT_EQ(most_allocated(), held(next));
  text.finish(*engine);
}

// What is computed again costs more than what is read again.
TEST_F(ReplanOnGpus, WeightsAreReadAgainWhereCachesHaveNoRoomBesideThem) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const gguf::Model model = gguf::open_model(file_of(folder));
  const model::Program program = model::build_program(model);
  const Settings settings = settings_of(quant::TensorType::F32);
  plan::Plan before = plan_of(file_of(folder), {"FirstAttention", {0, 1, 0, 0, 0, 1}}, settings);
  plan::Plan after = plan_of(file_of(folder), {"LastAttention", {0, 0, 0, 1, 0, 1}}, settings);
  before.arenas.at(arena_of(before, "blk.0.attn")).size = Bytes(0);
  after.arenas.at(arena_of(after, "blk.1.attn")).size = Bytes(0);
  const Bytes cache = plan::tier_total(after, kTheGpu, plan::Purpose::KvCache);
  for (const bool fits : {true, false}) {
    const Bytes room = fits ? cache : cache - Bytes(1);
    const plan::Plan from = with_room(before, room);
    const plan::Plan to = with_room(after, room);
    EXPECT_EQ(weights_on_gpu(from, to, kTheGpu).stay.size(), fits ? 1U : 0U);
    EXPECT_TRUE(caches_stay(program, from, to, std::nullopt));
  }
}

// And of those that stay on a GPU as they are, no byte is read.
TEST_F(ReplanOnGpus, WeightsThatAreTheSameOnAGpuAreNotReadAgain) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const Settings settings = settings_of(quant::TensorType::F32);
  ForcedText text(file_of(folder), settings);
  const auto engine = test::load_divided(file_of(folder), kText, places_of(kTwo), settings);
  EXPECT_GT(engine->load_figures().gpus_once, 0.0);
  text.join(*engine);
  const plan::Plan next = plan_of(file_of(folder), kFirst, settings);
  ASSERT_TRUE(engine->replan(next, {}, test::kNeverStop));
  EXPECT_EQ(engine->load_figures().kept, weights_of(next, kTheGpu));
  EXPECT_EQ(engine->load_figures().weights, weights_of(next, plan::kCpu));
  EXPECT_EQ(engine->load_figures().gpus_once, 0.0) << "it is opened again, or makes shaders that it has";
  EXPECT_EQ(engine->tokens_again(), 0U);
  text.finish(*engine);
}

// A cache in memory of a GPU's driver cannot be moved, and another context has other pages: texts are computed again.
TEST_F(ReplanOnGpus, WhatCannotBeMovedIsComputedAgain) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const Settings settings = settings_of(quant::TensorType::F32);
  Settings longer = settings;
  longer.context = 256;
  ForcedText text(file_of(folder), settings);
  const std::pair<Division, plan::Plan> ways[] = {{kGpu, plan_of(file_of(folder), kCacheInRam, settings)},
                                                  {kCacheInRam, plan_of(file_of(folder), kGpu, settings)},
                                                  {kGpu, plan_of(file_of(folder), kRam, longer)}};
  for (const auto& [from, to] : ways) {
    const auto engine = test::load_divided(file_of(folder), kText, places_of(from), settings);
    text.join(*engine);
    ASSERT_TRUE(engine->replan(to, {}, test::kNeverStop));
    EXPECT_EQ(engine->tokens_again(), text.tokens());
    EXPECT_EQ(engine->load_figures().caches, Bytes(0));
    text.finish(*engine);
  }
}

// What fails on the way costs the caches, and no text.
TEST_F(ReplanOnGpus, WhereMovingFailsTextsAreComputedAgain) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const Settings settings = settings_of(quant::TensorType::F32);
  ForcedText text(file_of(folder), settings);
  const auto engine = test::load_divided(file_of(folder), kText, places_of(kLast), settings);
  text.join(*engine);
  plan::Plan next = plan_of(file_of(folder), kRam, settings);
  for (plan::KvRegions& kv : next.kv) {  // regions that move past each other cannot be moved
    std::swap(next.regions[kv.k].offset, next.regions[kv.v].offset);
  }
  ASSERT_TRUE(engine->replan(next, {}, test::kNeverStop));
  EXPECT_EQ(engine->tokens_again(), text.tokens());
  EXPECT_EQ(engine->load_figures().caches, Bytes(0));
  text.finish(*engine);
}

TEST_F(ReplanOnGpus, TextsThatNobodyHoldsAreFoundWhereTheirCachesWent) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const Settings settings = settings_of(quant::TensorType::F32);
  ForcedText text(file_of(folder), settings);
  const auto engine = test::load_divided(file_of(folder), kText, places_of(kGpu), settings);
  text.join(*engine);
  engine->run(test::kNeverStop);
  ASSERT_TRUE(engine->replan(plan_of(file_of(folder), kRam, settings), {}, test::kNeverStop));
  text.join(*engine);
  text.finish(*engine);
  EXPECT_EQ(text.shared(), kPrompt - 1);
}

// Neither does a change that fails after caches were taken take a text with it.
TEST_F(ReplanOnGpus, WhereTheNewPlansGpuCannotBeOpenedTextsAreComputedAgainByTheOldOne) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const Settings settings = settings_of(quant::TensorType::F32);
  ForcedText text(file_of(folder), settings);
  const auto engine = test::load_divided(file_of(folder), kText, places_of(kGpu), settings);
  text.join(*engine);
  const plan::Plan before = engine->plan();
  plan::Plan next = plan_of(file_of(folder), kSecond, settings);
  next.tiers[2].device = "a GPU that nobody has";
  EXPECT_THROW(engine->replan(next, {}, test::kNeverStop), Error);
  EXPECT_FALSE(engine->is_loaded());
  ASSERT_TRUE(engine->replan(before, {}, test::kNeverStop));
  EXPECT_EQ(engine->tokens_again(), text.tokens());
  text.finish(*engine);
}

// What is held while caches move: both places on a GPU, and in RAM the larger one beside the weights that stay.
TEST_F(ReplanOnGpus, CachesAreNotMovedWhereMoreWouldBeHeldThanByEitherPlan) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const gguf::Model model = gguf::open_model(file_of(folder));
  const model::Program program = model::build_program(model);
  const Settings settings = settings_of(quant::TensorType::F32);
  const plan::Plan whole = plan_of(file_of(folder), kGpu, settings);
  const plan::Plan part = plan_of(file_of(folder), kFirst, settings);
  const plan::Plan other = plan_of(file_of(folder), kLast, settings);
  EXPECT_TRUE(caches_stay(program, whole, part, std::nullopt));
  EXPECT_FALSE(caches_stay(program, whole, part, kTheGpu));  // it is lost
  EXPECT_TRUE(caches_stay(program, whole, part, 2));
  EXPECT_TRUE(caches_stay(program, part, other, std::nullopt));
  for (const plan::DeviceIndex tier : {plan::kCpu, kTheGpu}) {
    plan::Plan tight = tier == plan::kCpu ? whole : part;
    plan::Plan after = tier == plan::kCpu ? part : other;
    for (plan::Plan* plan : {&tight, &after}) {
      for (plan::Arena& arena : plan->arenas) {
        if (arena.tier == tier && arena.purpose != plan::Purpose::KvCache) arena.size = Bytes(0);
      }
    }
    EXPECT_FALSE(caches_stay(program, tight, after, std::nullopt)) << tier;
  }
}

}  // namespace
}  // namespace loadline::engine
