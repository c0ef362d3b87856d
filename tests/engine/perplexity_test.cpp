// Sense, not only numbers: the demo model on text it has never seen, in every format.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "authoring/requantize.h"
#include "engine/loaded.h"
#include "model/format_mix.h"
#include "support/test_data.h"
#include "tokenizer/tokenizer.h"

namespace loadline::engine {
namespace {

namespace fs = std::filesystem;

fs::path demo() { return test::source_dir() / "models/demo.gguf"; }

// The held-back stories, one string each.
std::vector<std::string> stories() {
  std::ifstream file(test::source_dir() / "models/demo-heldout.txt");
  std::vector<std::string> all(1);
  for (std::string line; std::getline(file, line);) {
    if (line == "<|endoftext|>") {
      all.emplace_back();
      continue;
    }
    if (!all.back().empty()) all.back() += '\n';
    all.back() += line;
  }
  std::erase_if(all, [](const std::string& story) { return story.empty(); });
  return all;
}

// exp of the mean surprise over the tokens of the first `count` stories, each from the beginning-of-text token on.
double perplexity(const fs::path& file, std::size_t count) {
  plan::Options options;
  options.context = 512;
  options.outputs = 512;
  const auto engine = test::load(file, options);
  const auto tokenizer = tokenizer::Tokenizer::from_metadata(engine->model().metadata);
  double surprise = 0;
  std::size_t scored = 0;
  const auto texts = stories();
  for (std::size_t i = 0; i < std::min(count, texts.size()); ++i) {
    const auto tokens = tokenizer->encode(texts[i], {.add_special = true, .parse_special = false});
    const auto logits = test::score(*engine, tokens);
    const std::size_t width = logits.size() / tokens.size();
    for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
      const float* row = logits.data() + t * width;
      double total = 0;
      for (std::size_t v = 0; v < width; ++v) total += std::exp(static_cast<double>(row[v]));
      surprise += std::log(total) - row[tokens[t + 1]];
      ++scored;
    }
  }
  return std::exp(surprise / static_cast<double>(scored));
}

// Measured: 1.180 with the float weights over all stories (tools/demo_model/README.md).
constexpr double kBound = 1.25;
constexpr std::size_t kStories = 8;  // about 2000 tokens

TEST(DemoModel, ExpectsTheHeldBackStories) { EXPECT_LT(perplexity(demo(), 100), kBound); }

TEST(DemoModel, TellsAStoryThatEnds) {
  plan::Options options;
  options.context = 512;
  const auto engine = test::load(demo(), options);
  const auto tokenizer = tokenizer::Tokenizer::from_metadata(engine->model().metadata);
  std::string story;
  tokenizer::StreamDecoder decoder(*tokenizer);
  test::Wanted wanted;
  wanted.is_end = [&](Token token) { return tokenizer->is_end_of_generation(token); };
  wanted.on_token = [&](Token token) { story += decoder.push(token); };
  const auto prompt = tokenizer->encode("Once upon a time", {});
  const exec::SessionResult figures = test::generate(*engine, prompt, wanted).figures;
  EXPECT_EQ(figures.ending, exec::Ending::EndOfGeneration) << story;
  EXPECT_GT(figures.generated_tokens, 50U) << story;
  EXPECT_EQ(story.back(), '.') << story;
}

class DemoFormats : public testing::TestWithParam<const char*> {};

// Every block format is the base of one of these.
INSTANTIATE_TEST_SUITE_P(Mixes, DemoFormats,
                         testing::Values("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M",
                                         "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K_M", "Q2_K"),
                         [](const auto& mix) { return std::string(mix.param); });

// How much perplexity a format may cost. The model is small, so coarse formats cost it more than they cost a large one.
double allowed_ratio(std::string_view mix) {
  if (mix == "Q2_K") return 1.25;
  if (mix == "Q3_K_M") return 1.06;
  if (mix.starts_with("Q4") || mix.starts_with("IQ4")) return 1.03;
  return 1.01;
}

TEST_P(DemoFormats, CostLittlePerplexity) {
  const test::TemporaryFolder folder;
  const fs::path file = folder.path() / "model.gguf";
  const gguf::Model model = gguf::open_model(demo());
  authoring::requantize(model, *model::find_mix(GetParam()), 2, file, [](Bytes, Bytes) {});
  static const double kBaseline = perplexity(demo(), kStories);
  const double actual = perplexity(file, kStories);
  RecordProperty("perplexity", std::to_string(actual));
  EXPECT_LT(actual / kBaseline, allowed_ratio(GetParam())) << actual << " against " << kBaseline;
  EXPECT_GT(actual / kBaseline, 0.99);
}

}  // namespace
}  // namespace loadline::engine
