// A model of every family on a GPU, in whole and in parts, against an independent implementation's logits
// (shared/data/golden2), and the oracle past windows and after cutting back.
#include <algorithm>
#include <array>

#include "backend/reference/reference.h"
#include "engine/backends.h"
#include "engine/divided.h"
#include "engine/golden.h"
#include "engine/guesses.h"
#include "plan/cache_pages.h"
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
    "smollm3",         "stablelm",    "starcoder2", "cohere2",    "command-r",     "falcon",      "gemma4",
    "gptneox",         "phi2",        "lfm2",       "lfm2moe",    "mamba2",        "nemotron_h",  "nemotron_h_moe",
    "granitehybrid",   "qwen35",      "qwen35moe",  "qwen3next",
};
// Those with everything at once: windows and two rope tables, experts with sinks and biases, fused rows, groups of
// experts with shared ones, norms after, the compressed cache, parallel branches, inputs of each layer, states.
constexpr const char* kDivided[] = {"gemma3", "gpt-oss", "phi3", "glm4moe", "deepseek-v3",
                                    "phi2",   "gemma4",  "lfm2", "qwen35",  "nemotron_h"};
// Those whose caches do not keep every position.
constexpr const char* kForgetful[] = {"gemma3", "cohere2", "lfm2", "granitehybrid", "qwen3next"};

Places everywhere(plan::DeviceIndex device) {
  return {[device](std::size_t) { return device; }};
}
// The CPU, and both GPUs, in turn.
Places in_turn() {
  return {[](std::size_t group) { return static_cast<plan::DeviceIndex>((group + 1) % 3); }};
}

// Attention on the first GPU, where layers may share a cache; the rest on the CPU and the second GPU.
Places beside_the_attention() {
  return {[](std::size_t group) {
    return static_cast<plan::DeviceIndex>(group % 2 == 1 ? 1 : group % 4 == 0 ? 0 : 2);
  }};
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
  const Places places = std::string(GetParam()) == "gemma4" ? beside_the_attention() : in_turn();
  expect_golden(folder, GetParam(), places, kContext, std::array<std::size_t, 4>{30, 4, 1, 1});
}

// Several sequences in every pass, of other texts and lengths, each of which sees its own cells only. The last pass
// fills its class, and no sequence's tokens there are a multiple of a tile's.
TEST_P(DividedFamilies, KeepSequencesApart) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  constexpr std::size_t kSequences = 3;
  constexpr std::array<std::size_t, kSequences> kPasses[] = {
      {17, 1, 9}, {1, 12, 2}, {2, 1, 1}, {1, 1, 0}, {23, 17, 24}};
  const fs::path file = folder / (std::string(GetParam()) + "-F32.gguf");
  const gguf::Model model = gguf::open_model(file);
  const model::Program program = model::build_program(model);
  std::array<std::vector<std::int32_t>, kSequences> texts;
  std::array<std::vector<float>, kSequences> expected;
  for (std::uint32_t s = 0; s < kSequences; ++s) {
    texts[s] = test::some_text(44, 1 + s);
    expected[s] = reference::logits(model, program, texts[s]);
  }
  const std::size_t width = program.config.vocabulary;
  Settings settings = kContext;
  settings.sequences = kSequences;
  const auto engine = test::load_divided(file, settings.batch, everywhere(1), settings);
  std::array<std::size_t, kSequences> done{};
  for (const auto& counts : kPasses) {
    std::vector<exec::Input> inputs;
    std::vector<std::pair<std::size_t, std::size_t>> wanted;  // sequence, position
    for (std::uint32_t s = 0; s < kSequences; ++s) {
      if (counts[s] == 0) continue;
      inputs.push_back({s, std::span(texts[s]).subspan(done[s], counts[s]), exec::Want::All});
      for (std::size_t i = 0; i < counts[s]; ++i) wanted.emplace_back(s, done[s] + i);
      done[s] += counts[s];
    }
    ASSERT_TRUE(engine->executor().forward(inputs, kNeverStop));
    for (std::size_t row = 0; row < wanted.size(); ++row) {
      const auto [sequence, position] = wanted[row];
      const auto logits = engine->executor().logits(row);
      for (std::size_t i = 0; i < width; ++i) {
        ASSERT_NEAR(logits[i], expected[sequence][position * width + i], 2e-3)
            << "sequence " << sequence << " position " << position;
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

class ForgetfulFamilies : public GpuLogits, public testing::WithParamInterface<const char*> {
 protected:
  static constexpr Settings kShort{.batch = 24, .context = 256};
};
INSTANTIATE_TEST_SUITE_P(Golden, ForgetfulFamilies, testing::ValuesIn(kForgetful),
                         [](const auto& row) { return identifier(row.param); });

// So long that the window's pages have been round.
TEST_P(ForgetfulFamilies, AgreeWithTheOraclePastTheirWindows) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const fs::path file = folder / (std::string(GetParam()) + "-F32.gguf");
  const std::vector<std::int32_t> text = test::some_text(130, 1);
  const gguf::Model model = gguf::open_model(file);
  const model::Program program = model::build_program(model);
  const std::vector<float> expected = reference::logits(model, program, text);
  const auto engine = test::load_divided(file, text.size(), everywhere(1), kShort);
  if (const std::uint32_t window = plan::longest_window(program); window > 0) {
    ASSERT_TRUE(plan::has_window_pages(program, engine->plan().shape)) << "nothing would be written over";
  }
  const std::vector<float> actual = all_logits(*engine, text, std::array<std::size_t, 8>{24, 24, 20, 24, 7, 1, 24, 6});
  EXPECT_LT(test::compare(expected, actual, text.size()).absolute, 2e-3);
}

TEST_P(ForgetfulFamilies, SayTheSameAfterCuttingBack) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const std::vector<std::int32_t> prompt = test::some_text(50, 2);
  const auto engine =
      test::load_divided(folder / (std::string(GetParam()) + "-F32.gguf"), prompt.size(), everywhere(1), kShort);
  const std::vector<std::int32_t> text = test::generate(*engine, prompt, {.most = 30}).tokens;
  test::Guesses guesses(test::joined(prompt, text));
  const test::Generated guessed = test::generate(*engine, prompt, {.most = 30}, &guesses);
  EXPECT_EQ(guessed.tokens, text);
  EXPECT_GT(guesses.judged, 5U);
  EXPECT_LT(guesses.judged, guessed.figures.drafted_tokens);
  // The conversation goes on; then another answer is given to the first prompt.
  const std::vector<std::int32_t> longer = test::joined(test::joined(prompt, text), test::some_text(5, 3));
  const std::vector<std::int32_t> other = test::joined(prompt, test::some_text(5, 4));
  const std::vector<std::int32_t> after_longer = test::generate(*engine, longer, {.most = 10}).tokens;
  const std::vector<std::int32_t> after_other = test::generate(*engine, other, {.most = 10}).tokens;
  static_cast<void>(test::generate(*engine, prompt, {.most = 30}));
  const test::Generated again = test::go_on(*engine, longer, 10);
  EXPECT_EQ(again.tokens, after_longer);
  EXPECT_GE(again.figures.shared_tokens, prompt.size());
  EXPECT_EQ(test::go_on(*engine, other, 10).tokens, after_other);
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
