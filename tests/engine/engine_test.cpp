#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "base/error.h"
#include "engine/backends.h"
#include "engine/benchmark.h"
#include "engine/loaded.h"
#include "support/test_data.h"

namespace {

// Counts every allocation of this program, on any thread.
std::atomic<std::size_t> allocations{0};

}  // namespace

void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
// The compiler takes the pair apart when it inlines one half of it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

namespace loadline::engine {
namespace {

using test::kNeverStop;
using test::load;

const std::vector<Token> kPrompt = {1, 722, 832, 735, 721, 779, 860, 453, 448, 783};

plan::Options small(std::uint32_t context) {
  plan::Options options;
  options.context = context;
  options.batch = 16;
  options.threads = 2;
  return options;
}

std::vector<Token> generate(Engine& engine, const std::vector<Token>& prompt, std::int64_t most,
                            exec::SessionResult* figures = nullptr) {
  test::Generated result = test::generate(engine, prompt, {.most = most});
  if (figures != nullptr) *figures = result.figures;
  return result.tokens;
}

TEST(Engine, AllocatesNothingWhileItGenerates) {
  LOADLINE_REQUIRE_SHARED(file, "golden/llama-Q4_K_M.gguf");
  const auto engine = load(file, small(256));
  std::size_t before = 0;
  std::size_t tokens = 0;
  std::size_t allocated = 1;
  test::Wanted wanted{.most = 100};
  wanted.on_token = [&](Token) {
    if (++tokens == 2) before = allocations.load();
    if (tokens == 100) allocated = allocations.load() - before;
  };
  test::generate(*engine, kPrompt, wanted);
  EXPECT_EQ(tokens, 100U);
  EXPECT_EQ(allocated, 0U);
}

TEST(Engine, EndsAtTheLimitAtAnEndTokenAndWhenTheContextIsFull) {
  LOADLINE_REQUIRE_SHARED(file, "golden/llama-F32.gguf");
  exec::SessionResult figures;
  {
    const auto engine = load(file, small(64));
    const auto tokens = generate(*engine, kPrompt, 5, &figures);
    EXPECT_EQ(tokens.size(), 5U);
    EXPECT_EQ(figures.ending, exec::Ending::Length);
    EXPECT_EQ(figures.prompt_tokens, kPrompt.size());
    const auto before = std::vector<Token>(tokens.begin(), std::ranges::find(tokens, tokens[3]));
    const test::Generated ended =
        test::generate(*engine, kPrompt, {.is_end = [&](Token token) { return token == tokens[3]; }});
    EXPECT_EQ(ended.figures.ending, exec::Ending::EndOfGeneration);
    EXPECT_EQ(ended.tokens, before);
    EXPECT_EQ(ended.figures.generated_tokens, before.size());
  }
  const auto engine = load(file, small(64));
  const auto tokens = generate(*engine, kPrompt, 1000, &figures);
  EXPECT_EQ(figures.ending, exec::Ending::ContextFull);
  EXPECT_EQ(tokens.size(), 64 - kPrompt.size() + 1);  // the last one needs no cell
}

TEST(Engine, RefusesAPromptLongerThanTheContextWithBothNumbers) {
  LOADLINE_REQUIRE_SHARED(file, "golden/llama-F32.gguf");
  const auto engine = load(file, small(32));
  const std::vector<Token> prompt(33, 5);
  try {
    generate(*engine, prompt, 1);
    FAIL() << "a prompt of 33 tokens was taken into a context of 32";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::BadInput);
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("33"), testing::HasSubstr("32")));
  }
}

TEST(Engine, RefusesATokenOutsideTheVocabularyAndStaysUsable) {
  LOADLINE_REQUIRE_SHARED(file, "golden/llama-F32.gguf");
  const auto engine = load(file, small(64));
  EXPECT_THROW(generate(*engine, {1, 1024}, 1), Error);
  EXPECT_THROW(generate(*engine, {-1}, 1), Error);
  EXPECT_EQ(engine->executor().cache().length(0), 0U);
  EXPECT_EQ(generate(*engine, kPrompt, 3).size(), 3U);
}

TEST(Engine, SequencesSideBySideGiveWhatEachGivesAlone) {
  LOADLINE_REQUIRE_SHARED(file, "golden/qwen3-F16.gguf");
  const std::vector<std::vector<Token>> prompts = {{1, 722, 832}, {5}, {9, 8, 7, 6, 5, 4, 3}};
  plan::Options options = small(192);
  options.k_type = options.v_type = quant::TensorType::F32;
  std::vector<std::vector<float>> alone;
  for (const auto& prompt : prompts) {
    const auto engine = load(file, options);
    const exec::Input input{0, prompt, exec::Want::Last};
    ASSERT_TRUE(engine->executor().forward({&input, 1}, kNeverStop));
    const auto row = engine->executor().logits(0);
    alone.emplace_back(row.begin(), row.end());
  }
  options.sequences = 3;
  const auto engine = load(file, options);
  // The second and third come later, interleaved with more of the first, so that their pages are mixed in the cache.
  std::vector<exec::Input> inputs = {{0, std::span(prompts[0]).first(2), exec::Want::None}};
  ASSERT_TRUE(engine->executor().forward(inputs, kNeverStop));
  inputs = {{2, prompts[2], exec::Want::Last},
            {0, std::span(prompts[0]).subspan(2), exec::Want::Last},
            {1, prompts[1], exec::Want::Last}};
  ASSERT_TRUE(engine->executor().forward(inputs, kNeverStop));
  const std::size_t order[] = {2, 0, 1};
  for (std::size_t row = 0; row < 3; ++row) {
    const auto together = engine->executor().logits(row);
    const auto& single = alone[order[row]];
    for (std::size_t i = 0; i < single.size(); ++i)
      ASSERT_NEAR(together[i], single[i], 1e-3) << "prompt " << order[row];
  }
}

TEST(Engine, AStoppedPassLeavesTheSequenceAsItWas) {
  LOADLINE_REQUIRE_SHARED(file, "golden/llama-Q4_0.gguf");
  const auto engine = load(file, small(64));
  const auto undisturbed = generate(*engine, kPrompt, 8);
  const std::atomic<bool> stop{true};
  test::Wanted wanted;
  wanted.on_token = [](Token) { FAIL() << "a token came after the stop"; };
  EXPECT_EQ(test::generate(*engine, kPrompt, wanted, nullptr, stop).figures.ending, exec::Ending::Stopped);
  EXPECT_EQ(engine->executor().cache().length(0), 0U);
  EXPECT_EQ(generate(*engine, kPrompt, 8), undisturbed);
}

TEST(Engine, StopsWhileLoading) {
  LOADLINE_REQUIRE_SHARED(file, "golden/llama-F32.gguf");
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  plan::Plan plan = plan::make_plan(model, program, hardware::probe(file), small(64), engine::backends());
  const std::atomic<bool> stop{true};
  EXPECT_EQ(Engine::load(std::move(model), std::move(program), std::move(plan), {}, stop), nullptr);
}

TEST(Engine, AFileThatShrankAfterItWasPlannedIsAClearError) {
  LOADLINE_REQUIRE_SHARED(file, "golden/llama-F32.gguf");
  const test::TemporaryFolder folder;
  const auto copy = folder.path() / "model.gguf";
  std::filesystem::copy_file(file, copy);
  std::filesystem::permissions(copy, std::filesystem::perms::owner_all);
  gguf::Model model = gguf::open_model(copy);
  model::Program program = model::build_program(model);
  plan::Plan plan = plan::make_plan(model, program, hardware::probe(copy), small(64), engine::backends());
  std::filesystem::resize_file(copy, std::filesystem::file_size(copy) / 2);
  try {
    test::load(std::move(model), std::move(program), std::move(plan));
    FAIL() << "half a file was loaded";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("ended early"));
  }
}

TEST(Benchmark, GeneratesATestForEachNumberOfSequencesAndSharesTheWeightsAmongThem) {
  LOADLINE_REQUIRE_SHARED(file, "golden/llama-Q4_K_M.gguf");
  BenchmarkOptions wanted;
  wanted.prompt = 4;
  wanted.generate = 2;
  wanted.depth = 32;
  wanted.sequences = {1, 3};
  wanted.repeats = 1;
  plan::Options options = small(context_needed(wanted));
  options.sequences = most_sequences(wanted);
  options.outputs = options.sequences;
  const auto engine = load(file, options);
  const auto rows = benchmark(*engine, wanted, kNeverStop);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].test, "pp4 @ d32");
  EXPECT_EQ(rows[1].test, "tg2 @ d32");
  EXPECT_EQ(rows[2].test, "tg2 @ d32 x3");
  const auto weights = static_cast<double>(weight_bytes_per_pass(engine->model(), engine->program()).value);
  EXPECT_DOUBLE_EQ(rows[1].bytes_per_token - rows[2].bytes_per_token, weights - weights / 3);
  EXPECT_EQ(engine->scheduler().activity().held_pages, 0U);
  EXPECT_GT(engine->scheduler().activity().shared_tokens, 0U) << "the depth is computed once";
}

TEST(Benchmark, GivesTheCallerATurnBeforeTheCountedRunsOfATestAndAfterEach) {
  LOADLINE_REQUIRE_SHARED(file, "golden/llama-Q4_K_M.gguf");
  BenchmarkOptions wanted;
  wanted.prompt = 4;
  wanted.generate = 2;
  wanted.repeats = 3;
  const auto engine = load(file, small(context_needed(wanted)));
  std::vector<std::size_t> turns;
  const auto rows = benchmark(*engine, wanted, kNeverStop, [&](std::size_t test) { turns.push_back(test); });
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].rates.size(), 3U);
  EXPECT_THAT(turns, testing::ElementsAre(0, 0, 0, 0, 1, 1, 1, 1));
}

// Whatever command made it: after loading, and after the last pass, whose memory came in between.
TEST(Engine, HoldsNoMoreThanThePlanSaysAfterLoadingAndAfterTheLastPass) {
  const std::filesystem::path file = test::source_dir() / "models/demo.gguf";
  Bytes held;
  const auto load_alone = [&](std::function<Bytes(Bytes planned)> holds) {
    gguf::Model model = gguf::open_model(file);
    model::Program program = model::build_program(model);
    plan::Plan plan = plan::make_plan(model, program, hardware::probe(file), small(128), backends());
    held = holds(plan::tier_total(plan, plan::kCpu));
    Engine::Options options;
    options.held_memory = [&held] { return held; };
    return Engine::load(std::move(model), std::move(program), std::move(plan), {}, kNeverStop, std::move(options));
  };
  const auto refusal = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::Internal);
      return error.what();
    }
    return "";
  };
  const auto engine = load_alone([](Bytes planned) { return planned; });
  EXPECT_EQ(generate(*engine, {1, 2, 3}, 2).size(), 2U);
  held += Bytes(1);
  EXPECT_THAT(refusal([&] { generate(*engine, {1, 2, 3}, 2); }), testing::HasSubstr("the process holds"));
  EXPECT_THAT(refusal([&] { load_alone([](Bytes planned) { return planned + Bytes(1); }); }),
              testing::HasSubstr("where the plan says"));
}

}  // namespace
}  // namespace loadline::engine
