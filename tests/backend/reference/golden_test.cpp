// The oracle against an independent implementation's logits, for a model of every family (shared/data/golden2).
#include "engine/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "backend/reference/reference.h"
#include "base/error.h"
#include "model/program.h"
#include "support/test_data.h"

namespace loadline::reference {
namespace {

namespace fs = std::filesystem;

// As the golden logits were made: phi3-long and minicpm3 take their long rope factors for it.
constexpr std::uint32_t kContext = 512;

constexpr const char* kFamilies[] = {
    "arcee",       "bloom",         "cohere2",        "command-r",     "deepseek-v2-mha",
    "deepseek-v3", "ernie4_5",      "ernie4_5-moe",   "exaone4",       "falcon",
    "gemma",       "gemma2",        "gemma3",         "gemma4",        "gemma4-moe",
    "glm4",        "glm4moe",       "gpt-oss",        "gpt2",          "gptneox",
    "granite",     "granitehybrid", "granitemoe",     "hunyuan-dense", "hunyuan-moe",
    "lfm2",        "lfm2moe",       "llama4",         "mamba2",        "minicpm",
    "minicpm3",    "minimax-m2",    "mistral3",       "mixtral",       "mpt",
    "nemotron",    "nemotron_h",    "nemotron_h_moe", "olmo2",         "olmo3",
    "olmoe",       "phi2",          "phi3",           "phi3-long",     "qwen2moe",
    "qwen35",      "qwen35moe",     "qwen3moe",       "qwen3next",     "seed_oss",
    "smollm3",     "stablelm",      "starcoder2",
};

class GoldenFamilies : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Files, GoldenFamilies, testing::ValuesIn(kFamilies), [](const auto& file) {
  std::string name = file.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST_P(GoldenFamilies, TheOracleAgrees) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const test::Golden golden{std::string(GetParam()) + "-F32", 1e-6, 1e-3};
  const auto tokens = test::golden_tokens(folder);
  const auto expected = test::golden_logits(folder, golden);
  const gguf::Model model = gguf::open_model(folder / (golden.name + ".gguf"));
  const auto actual = logits(model, model::build_program(model), tokens, {}, kContext);
  const test::Difference difference = test::compare(expected, actual, tokens.size());
  RecordProperty("absolute", std::to_string(difference.absolute));
  test::expect_within(difference, golden);
}

// Weights are decoded, activations are not rounded.
class GoldenFormats : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Files, GoldenFormats,
                         testing::Values("gpt-oss-MXFP4_MOE", "llama-IQ1_M", "llama-IQ1_S", "llama-IQ2_M",
                                         "llama-IQ2_XS", "llama-IQ2_XXS", "llama-IQ3_S", "llama-IQ3_XXS", "llama-NVFP4",
                                         "llama-Q1_0", "llama-Q2_0", "llama-TQ1_0", "llama-TQ2_0", "mixtral-Q4_K_M"),
                         [](const auto& file) {
                           std::string name = file.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_P(GoldenFormats, TheOracleAgreesWithTheDecodedWeights) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  const std::string name = GetParam();
  const auto tokens = test::golden_tokens(folder, "tokens-quantised.txt");
  const auto expected = test::read_floats(folder / (name + ".exact.logits.f32"));
  const gguf::Model model = gguf::open_model(folder / (name + ".gguf"));
  const auto actual = logits(model, model::build_program(model), tokens, {}, kContext);
  EXPECT_LT(test::compare(expected, actual, tokens.size()).absolute, 1e-3);
}

}  // namespace
}  // namespace loadline::reference
