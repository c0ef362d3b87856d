// A model of every family that a GPU runs, in whole and in parts, against an independent implementation's logits
// (shared/data/golden2). A family that a GPU does not run must be one of those listed, and refused by name.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "engine/backends.h"
#include "engine/divided.h"
#include "engine/golden.h"
#include "support/test_data.h"

namespace loadline::engine {
namespace {

namespace fs = std::filesystem;
using test::GpuLogits;
using test::identifier;
using test::Places;
using test::Settings;

const std::atomic<bool> kNeverStop{false};

constexpr const char* kFamilies[] = {
    "deepseek-v2-mha", "deepseek-v3", "minicpm3",   "gemma4-moe", "arcee",         "bloom",       "ernie4_5",
    "ernie4_5-moe",    "exaone4",     "gemma",      "gemma2",     "gemma3",        "glm4",        "glm4moe",
    "gpt-oss",         "gpt2",        "granite",    "granitemoe", "hunyuan-dense", "hunyuan-moe", "llama4",
    "minicpm",         "minimax-m2",  "mistral3",   "mixtral",    "mpt",           "nemotron",    "olmo2",
    "olmo3",           "olmoe",       "phi3",       "phi3-long",  "qwen2moe",      "qwen3moe",    "seed_oss",
    "smollm3",         "stablelm",    "starcoder2",
};
// What these have and a GPU does not: a state, or values that live from group to group (parallel branches, inputs of
// each layer).
constexpr const char* kRefused[] = {
    "cohere2", "command-r",  "falcon",         "gemma4", "gptneox", "granitehybrid", "lfm2",      "lfm2moe",
    "mamba2",  "nemotron_h", "nemotron_h_moe", "phi2",   "qwen35",  "qwen35moe",     "qwen3next",
};
// Those with everything at once: windows and two rope tables, experts with sinks and biases, fused rows, groups of
// experts with shared ones, norms after, the compressed cache.
constexpr const char* kDivided[] = {"gemma3", "gpt-oss", "phi3", "glm4moe", "deepseek-v3"};

Places everywhere(plan::DeviceIndex device) {
  return {[device](std::size_t) { return device; }};
}
// The CPU, and both GPUs, in turn.
Places in_turn() {
  return {[](std::size_t group) { return static_cast<plan::DeviceIndex>((group + 1) % 3); }};
}

// Of `runs` of the tokens, one pass each.
std::vector<float> all_logits(Engine& engine, std::span<const std::int32_t> tokens, std::span<const std::size_t> runs) {
  std::vector<float> all;
  for (const std::size_t count : runs) {
    const exec::Input input{0, tokens.first(count), exec::Want::All};
    EXPECT_TRUE(engine.executor().forward({&input, 1}, kNeverStop));
    for (std::size_t i = 0; i < count; ++i) {
      const auto row = engine.executor().logits(i);
      all.insert(all.end(), row.begin(), row.end());
    }
    tokens = tokens.subspan(count);
  }
  EXPECT_TRUE(tokens.empty());
  return all;
}

void expect_golden(const fs::path& folder, const std::string& name, const Places& places, const Settings& settings,
                   std::span<const std::size_t> runs) {
  const auto tokens = test::golden_tokens(folder);
  const auto engine = test::load_divided(folder / (name + "-F32.gguf"), tokens.size(), places, settings);
  const std::vector<float> actual = all_logits(*engine, tokens, runs);
  const test::Golden golden{name + "-F32", 1e-6, 1e-3};
  test::expect_within(test::compare(test::golden_logits(folder, golden), actual, tokens.size()), golden);
}

const Settings kContext{.batch = 64, .context = 512};

class Families : public GpuLogits, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Golden, Families, testing::ValuesIn(kFamilies),
                         [](const auto& row) { return identifier(row.param); });

// A prompt, a few tokens and one at a time: the three kinds of passes.
TEST_P(Families, AgreeWithTheGoldenLogits) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  expect_golden(folder, GetParam(), everywhere(1), kContext, std::array<std::size_t, 7>{20, 7, 1, 1, 1, 5, 1});
}

class DividedFamilies : public GpuLogits, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Golden, DividedFamilies, testing::ValuesIn(kDivided),
                         [](const auto& row) { return identifier(row.param); });

TEST_P(DividedFamilies, AgreeWithTheGoldenLogits) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  expect_golden(folder, GetParam(), in_turn(), kContext, std::array<std::size_t, 4>{30, 4, 1, 1});
}

// Several sequences of other lengths in every pass, each of which sees its own cells only.
TEST_P(DividedFamilies, KeepSequencesApart) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const auto tokens = test::golden_tokens(folder);
  const std::string name = std::string(GetParam()) + "-F32";
  const auto expected = test::golden_logits(folder, {name, 0});
  const std::size_t width = expected.size() / tokens.size();
  Settings settings = kContext;
  settings.sequences = 3;
  const auto engine = test::load_divided(folder / (name + ".gguf"), tokens.size(), everywhere(1), settings);
  std::array<std::size_t, 3> done{};
  for (const std::array<std::size_t, 3> counts :
       {std::array<std::size_t, 3>{17, 1, 9}, {1, 12, 2}, {2, 1, 1}, {1, 1, 0}, {9, 20, 3}}) {
    std::vector<exec::Input> inputs;
    std::vector<std::pair<std::size_t, std::size_t>> wanted;  // sequence, position
    for (std::uint32_t s = 0; s < 3; ++s) {
      if (counts[s] == 0) continue;
      inputs.push_back({s, std::span(tokens).subspan(done[s], counts[s]), exec::Want::All});
      for (std::size_t i = 0; i < counts[s]; ++i) wanted.emplace_back(s, done[s] + i);
      done[s] += counts[s];
    }
    ASSERT_TRUE(engine->executor().forward(inputs, kNeverStop));
    for (std::size_t row = 0; row < wanted.size(); ++row) {
      const auto logits = engine->executor().logits(row);
      for (std::size_t i = 0; i < width; ++i) {
        ASSERT_NEAR(logits[i], expected[wanted[row].second * width + i], 1e-3)
            << "sequence " << wanted[row].first << " position " << wanted[row].second;
      }
    }
  }
}

// A session that begins as another did has a copy of the page in which they part.
TEST_F(GpuLogits, OfASessionThatSharesAnothersBeginningAreTheSame) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const auto tokens = test::golden_tokens(folder);
  Settings settings = kContext;
  settings.sequences = 2;
  for (const Places& places : {everywhere(1), in_turn()}) {
    const auto engine = test::load_divided(folder / "qwen3moe-F32.gguf", tokens.size(), places, settings);
    const std::vector<std::int32_t> begun(tokens.begin(), tokens.begin() + 25);
    const auto alone = test::generate(*engine, begun, {.most = 8});
    std::vector<std::int32_t> other = begun;
    other[22] = (other[22] + 1) % 512;
    test::Listener listener({.most = 8});
    exec::SessionOptions session;
    session.prompt = other;
    session.most_tokens = 8;
    ASSERT_TRUE(engine->scheduler().join(session, listener));
    engine->run(kNeverStop);
    ASSERT_FALSE(listener.result.error);
    EXPECT_EQ(listener.result.shared_tokens, 22U);
    const auto fresh = test::generate(*engine, other, {.most = 8});
    EXPECT_EQ(listener.tokens, fresh.tokens);
    EXPECT_EQ(test::generate(*engine, begun, {.most = 8}).tokens, alone.tokens);
  }
}

TEST_F(GpuLogits, OfFamiliesThatCannotRunAreRefusedByName) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  for (const char* name : kRefused) {
    const auto tokens = test::golden_tokens(folder);
    try {
      test::load_divided(folder / (std::string(name) + "-F32.gguf"), tokens.size(), everywhere(1), kContext);
      ADD_FAILURE() << name << " runs: it belongs among the families";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::BadInput) << name;
      EXPECT_NE(std::string(error.what()).find("GPU"), std::string::npos) << error.what();
    }
  }
}

// Quantised weights, experts among them, by the divergence that 8 bits of activations cost: none here.
class QuantisedFamilies : public GpuLogits, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Golden, QuantisedFamilies,
                         testing::Values("gpt-oss-MXFP4_MOE", "mixtral-Q4_K_M", "llama-IQ1_M", "llama-IQ2_XS",
                                         "llama-IQ3_S", "llama-NVFP4", "llama-TQ1_0"),
                         [](const auto& row) { return identifier(row.param); });

TEST_P(QuantisedFamilies, AgreeWithTheGoldenLogits) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const auto tokens = test::golden_tokens(folder, "tokens-quantised.txt");
  const std::string name = GetParam();
  const auto engine = test::load_divided(folder / (name + ".gguf"), tokens.size(), everywhere(1), kContext);
  const std::vector<float> actual = all_logits(*engine, tokens, std::array<std::size_t, 4>{20, 7, 1, 8});
  const test::Golden golden{name + ".exact", 1e-6, 2e-3};
  test::expect_within(test::compare(test::golden_logits(folder, golden), actual, tokens.size()), golden);
}

}  // namespace
}  // namespace loadline::engine
