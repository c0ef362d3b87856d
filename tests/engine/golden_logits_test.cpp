// Logits against an independent implementation's (shared/data/golden), and against the oracle.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "backend/cpu/kernels.h"
#include "backend/cpu/tile.h"
#include "backend/reference/reference.h"
#include "engine/backends.h"
#include "engine/engine.h"
#include "engine/golden.h"
#include "engine/loaded.h"
#include "hardware/probe.h"
#include "plan/planner.h"
#include "support/test_data.h"

namespace loadline::engine {
namespace {

namespace fs = std::filesystem;
const std::atomic<bool> kNeverStop{false};

using test::compare;
using test::Difference;
using test::expect_within;
using test::Golden;
using test::golden_logits;
using test::golden_tokens;

struct Run {
  std::uint32_t threads = 2;
  std::uint32_t batch = 512;
  quant::TensorType kv = quant::TensorType::F32;
};

std::vector<float> engine_logits(const fs::path& file, const std::vector<std::int32_t>& tokens, const Run& run) {
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  plan::Options options;
  options.context = static_cast<std::uint32_t>(tokens.size());
  options.batch = run.batch;
  options.outputs = run.batch;
  options.threads = run.threads;
  options.k_type = run.kv;
  options.v_type = run.kv;
  plan::Plan plan = plan::make_plan(model, program, hardware::probe(file), options, engine::backends());
  const auto engine = test::load(std::move(model), std::move(program), std::move(plan));
  const std::vector<float> all = test::score(*engine, tokens);
  return all;
}

class GoldenLogits : public testing::TestWithParam<Golden> {};

INSTANTIATE_TEST_SUITE_P(Files, GoldenLogits, testing::ValuesIn(test::golden_files()), [](const auto& file) {
  std::string name = file.param.name;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST_P(GoldenLogits, TheOracleAgrees) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const auto expected = golden_logits(folder, GetParam());
  const gguf::Model model = gguf::open_model(folder / (GetParam().name + ".gguf"));
  expect_within(compare(expected, reference::logits(model, model::build_program(model), tokens), tokens.size()),
                GetParam());
}

TEST_P(GoldenLogits, TheEngineAgreesWithTheGoldenLogitsAndTheOracle) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const fs::path file = folder / (GetParam().name + ".gguf");
  const auto actual = engine_logits(file, tokens, {});
  const auto expected = golden_logits(folder, GetParam());
  const Difference difference = compare(expected, actual, tokens.size());
  RecordProperty("kl", std::to_string(difference.kl));
  expect_within(difference, GetParam());
  const gguf::Model model = gguf::open_model(file);
  expect_within(compare(reference::logits(model, model::build_program(model), tokens), actual, tokens.size()),
                GetParam());
}

// Sums of other orders differ in their last bits, and once in a while that rounds an activation to the neighbouring
// 8-bit integer, which changes the logits from that token on. So where activations are rounded, only the first tokens
// are compared closely.
void expect_agreement(const std::vector<float>& a, const std::vector<float>& b, std::size_t tokens,
                      const Golden& golden, bool rounded) {
  if (!rounded) {
    EXPECT_LT(compare(a, b, tokens).absolute, 1e-3);
    return;
  }
  constexpr std::size_t kFirst = 4;
  const std::size_t row = a.size() / tokens;
  const auto first = [&](const std::vector<float>& all) {
    return std::vector(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(kFirst * row));
  };
  EXPECT_LT(compare(first(a), first(b), kFirst).absolute, 1e-3);
  expect_within(compare(a, b, tokens), golden);
}

TEST_P(GoldenLogits, BatchedAndTokenByTokenAgree) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const fs::path file = folder / (GetParam().name + ".gguf");
  const bool rounded = GetParam().kl > 1e-5;
  const auto alone = engine_logits(file, tokens, {.batch = 1});
  for (const std::uint32_t batch : {3U, 17U, quant::kMatrixTokens - 1}) {
    SCOPED_TRACE(fmt::format("batch {}", batch));
    // A few tokens are added up as one is.
    expect_agreement(alone, engine_logits(file, tokens, {.batch = batch}), tokens.size(), GetParam(),
                     rounded && batch > cpu::kFew);
  }
  const auto together = engine_logits(file, tokens, {});
  if (cpu::kernels().matrix_unit && rounded) {
    // Activations are not rounded to 8 bits then, but to bfloat16.
    expect_within(compare(alone, together, tokens.size()), GetParam());
  } else {
    expect_agreement(alone, together, tokens.size(), GetParam(), rounded);
  }
}

TEST_P(GoldenLogits, TheNumberOfThreadsChangesNothing) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const fs::path file = folder / (GetParam().name + ".gguf");
  const auto one = engine_logits(file, tokens, {.threads = 1});
  for (const std::uint32_t threads : {2U, 3U}) {
    EXPECT_EQ(one, engine_logits(file, tokens, {.threads = threads})) << threads << " threads";
  }
}

TEST_P(GoldenLogits, SmallerCacheTypesStayClose) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const fs::path file = folder / (GetParam().name + ".gguf");
  const auto full = engine_logits(file, tokens, {});
  // Where activations are rounded to 8 bits, the smallest change flips some of them: the same order as that rounding.
  const double half = GetParam().kl > 1e-5 ? 1e-3 : 1e-5;
  EXPECT_LT(compare(full, engine_logits(file, tokens, {.kv = quant::TensorType::F16}), tokens.size()).kl, half);
  EXPECT_LT(compare(full, engine_logits(file, tokens, {.kv = quant::TensorType::Q8_0}), tokens.size()).kl, 1e-3);
}

TEST_P(GoldenLogits, TheStatesThatTheyAreMadeFromAreTheOracles) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const fs::path file = folder / (GetParam().name + ".gguf");
  plan::Options options;
  options.context = static_cast<std::uint32_t>(tokens.size());
  options.outputs = 7;
  options.threads = 2;
  options.k_type = options.v_type = quant::TensorType::F32;
  const auto engine = test::load(file, options);
  const auto all = test::states(*engine, tokens, exec::States::All);
  const gguf::Model model = gguf::open_model(file);
  const auto expected = reference::states(model, model::build_program(model), tokens);
  EXPECT_GT(test::least_cosine(expected, all, tokens.size()), GetParam().kl > 1e-5 ? 0.99 : 0.99999);
  const auto last = test::states(*engine, tokens, exec::States::Last);
  const std::vector<float> end(all.end() - static_cast<std::ptrdiff_t>(last.size()), all.end());
  EXPECT_GT(test::least_cosine(end, last, 1), GetParam().kl > 1e-5 ? 0.99 : 0.99999);
}

// In processes of their own, as a process chooses once. Without the scalar set, whose arithmetic is the oracle's.
TEST(InstructionSets, EveryOneAgreesWithTheGoldenLogits) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const std::string self = fs::read_symlink("/proc/self/exe").string();
  for (const cpu::KernelTable* table : cpu::available_kernels().subspan(1)) {
    const std::string command = "LOADLINE_ISA=" + std::string(table->name) + " '" + self +
                                "' --gtest_brief=1 --gtest_filter='Files/GoldenLogits.TheEngine*' 1>&2";
    EXPECT_EQ(std::system(command.c_str()), 0) << table->name;
  }
}

}  // namespace
}  // namespace loadline::engine
