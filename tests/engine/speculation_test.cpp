// Guessing ahead changes how many passes a text takes, and nothing else.
#include <gtest/gtest.h>

#include <optional>

#include "engine/engine.h"
#include "engine/loaded.h"
#include "engine/streamed_model.h"
#include "sample/sampler.h"
#include "speculate/ngram_drafter.h"
#include "support/allocations.h"
#include "support/test_data.h"
#include "tokenizer/tokenizer.h"

namespace loadline::engine {
namespace {

using test::Generated;
using test::Wanted;

using test::generate;

Generated with_guesses(Engine& engine, const std::vector<Token>& prompt, const Wanted& wanted,
                       const speculate::NgramOptions& options = {}) {
  speculate::NgramDrafter drafter(options, engine.plan().shape.context + 1);
  return test::generate(engine, prompt, wanted, &drafter);
}

void expect_same(const Generated& plain, const Generated& guessed) {
  EXPECT_EQ(plain.tokens, guessed.tokens);
  EXPECT_EQ(plain.figures.ending, guessed.figures.ending);
  EXPECT_EQ(plain.figures.generated_tokens, guessed.figures.generated_tokens);
  EXPECT_EQ(plain.figures.drafted_tokens, 0U);
}

// The demo model, with a text that asks to be quoted.
class DemoSpeculation : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    plan::Options options;
    options.context = 256;
    options.outputs = 17;
    options.threads = 2;
    engine_ = test::load(test::source_dir() / "models/demo.gguf", options);
    const auto tokenizer = tokenizer::Tokenizer::from_metadata(engine_->model().metadata);
    prompt_ = tokenizer->encode("One, two, three. One, two, three. One, two, three. One,",
                                {.add_special = true, .parse_special = false});
  }
  static void TearDownTestSuite() { engine_.reset(); }

  inline static std::unique_ptr<Engine> engine_;
  inline static std::vector<Token> prompt_;
};

TEST_F(DemoSpeculation, GreedyTextIsTheSameInFewerPasses) {
  const Wanted wanted{.most = 150};
  const Generated plain = generate(*engine_, prompt_, wanted);
  const Generated guessed = with_guesses(*engine_, prompt_, wanted);
  expect_same(plain, guessed);
  ASSERT_EQ(plain.tokens.size(), 150U);
  EXPECT_EQ(plain.figures.passes, 149U);
  EXPECT_EQ(guessed.figures.passes + guessed.figures.accepted_tokens, 149U);
  EXPECT_GE(guessed.figures.drafted_tokens, guessed.figures.accepted_tokens);
  EXPECT_LT(guessed.figures.passes, 140U);
}

// Since every token is drawn in turn from the distribution that follows the one before, and guesses are only compared
// with what was drawn, the same random numbers give the same text: nothing is left to show statistically.
TEST_F(DemoSpeculation, SampledTextIsTheSameForTheSameSeed) {
  std::size_t accepted = 0;
  std::size_t rejected = 0;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    std::optional<sample::Sampler> sampler;
    const auto wanted = [&] {
      sample::Options options;
      options.seed = seed;
      options.temperature = 1.0F;
      options.repeat_penalty = 1.1F;
      sampler.emplace(options, engine_->program().config.vocabulary);
      return Wanted{.most = 60, .draw = [&](std::span<const float> logits) {
                      const Token token = sampler->sample(logits);
                      sampler->accept(token);
                      return token;
                    }};
    };
    const Generated plain = generate(*engine_, prompt_, wanted());
    const Generated guessed = with_guesses(*engine_, prompt_, wanted());
    expect_same(plain, guessed);
    accepted += guessed.figures.accepted_tokens;
    rejected += guessed.figures.drafted_tokens - guessed.figures.accepted_tokens;
  }
  EXPECT_GT(accepted, 0U);
  EXPECT_GT(rejected, 0U);
}

TEST_F(DemoSpeculation, EndsWhereverItEndsWithoutGuesses) {
  const Generated whole = generate(*engine_, prompt_, {.most = 60});
  for (std::int64_t most = 0; most < 40; most += 5) {
    expect_same(generate(*engine_, prompt_, {.most = most}), with_guesses(*engine_, prompt_, {.most = most}));
  }
  for (std::size_t at = 0; at < 40; at += 5) {
    const Wanted wanted{.most = 60, .is_end = [&](Token token) { return token == whole.tokens[at]; }};
    expect_same(generate(*engine_, prompt_, wanted), with_guesses(*engine_, prompt_, wanted));
  }
  const Generated full = generate(*engine_, prompt_, {});
  EXPECT_EQ(full.figures.ending, exec::Ending::ContextFull);
  expect_same(full, with_guesses(*engine_, prompt_, {}));
}

TEST_F(DemoSpeculation, AllocatesNothingWhileItGenerates) {
  speculate::NgramDrafter drafter({}, engine_->plan().shape.context + 1);
  std::optional<test::AllocationWatch> watch;
  std::size_t tokens = 0;
  Wanted wanted{.most = 120};
  std::uint64_t allocated = 0;
  wanted.on_token = [&](Token) {
    if (++tokens == 1) watch.emplace();
    if (tokens == 120) allocated = watch->count();
  };
  const exec::SessionResult figures = test::generate(*engine_, prompt_, wanted, &drafter).figures;
  EXPECT_EQ(tokens, 120U);
  EXPECT_GT(figures.accepted_tokens, 0U);
  EXPECT_EQ(allocated, 0U);
}

// On the disk tier a pass saved is a pass over the disk saved.
TEST(Speculation, ATextInALoopReadFromDiskTakesAFractionOfThePasses) {
  const test::TemporaryFolder folder;
  const auto file = test::write_streamed_model(folder.path());
  plan::Options options = test::streamed_options();
  options.context = 512;
  const std::vector<Token> loop = {5, 6, 7, 8, 5, 6, 7, 8, 5, 6, 7, 8, 5, 6};
  const auto resident = test::load(test::planned(file, options));
  const Generated plain = generate(*resident, loop, {.most = 100});

  test::Planned part = test::planned(file, options, 60);
  const Bytes per_pass = plan::streamed_bytes(part.plan);
  const auto engine = test::load(std::move(part));
  auto streamed = [&, before = Bytes()]() mutable {
    const Bytes now = engine->streamed_bytes();
    return now - std::exchange(before, now);
  };
  const Generated guessed = with_guesses(*engine, loop, {.most = 100});
  expect_same(plain, guessed);
  EXPECT_LT(guessed.figures.passes, plain.figures.passes);
  EXPECT_LE(streamed(), per_pass * (guessed.figures.passes + 2)) << "the prompt's, and what is read ahead";

  // A text that is nothing but the loop: 16 guesses a pass, all right.
  std::size_t drawn = loop.size();
  const Generated ideal =
      with_guesses(*engine, loop,
                   {.most = 200, .draw = [&](std::span<const float>) { return static_cast<Token>(5 + drawn++ % 4); }});
  EXPECT_EQ(ideal.figures.passes, (200U - 1 + 16) / 17);
  EXPECT_EQ(ideal.figures.accepted_tokens, 200 - 1 - ideal.figures.passes);
  EXPECT_LE(streamed(), per_pass * (ideal.figures.passes + 2));
}

}  // namespace
}  // namespace loadline::engine
