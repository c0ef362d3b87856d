// Logits against an independent implementation's (shared/data/golden), and against the oracle.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "backend/reference/reference.h"
#include "engine/engine.h"
#include "hardware/probe.h"
#include "plan/planner.h"
#include "support/test_data.h"

namespace loadline::engine {
namespace {

namespace fs = std::filesystem;
const std::atomic<bool> kNeverStop{false};

struct Golden {
  std::string name;
  // Mean KL divergence allowed from the golden distribution, and for F32 the largest absolute difference.
  double kl;
  double absolute = 0;
};

// The bounds: float formats differ by rounding only; quantised files by the 8 bits that activations are rounded to
// (which alone costs about 1.5e-4 on these models).
const Golden kGolden[] = {
    {"llama-F32", 1e-7, 1e-3}, {"llama-F16", 1e-5},    {"llama-BF16", 1e-4},   {"llama-Q4_0", 1e-3},
    {"llama-Q4_1", 1e-3},      {"llama-Q5_0", 1e-3},   {"llama-Q5_1", 1e-3},   {"llama-Q8_0", 1e-3},
    {"llama-Q2_K", 1e-3},      {"llama-Q3_K_M", 1e-3}, {"llama-Q4_K_M", 1e-3}, {"llama-Q5_K_M", 1e-3},
    {"llama-Q6_K", 1e-3},      {"llama-IQ4_NL", 1e-3}, {"llama-IQ4_XS", 1e-3}, {"qwen2-F16", 1e-5},
    {"qwen2-Q4_K_M", 1e-3},    {"qwen3-F16", 1e-5},    {"qwen3-Q4_K_M", 1e-3},
};

std::vector<float> read_floats(const fs::path& path) {
  std::vector<float> values(fs::file_size(path) / sizeof(float));
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

std::vector<std::int32_t> golden_tokens(const fs::path& folder) {
  std::ifstream file(folder / "tokens.txt");
  std::vector<std::int32_t> tokens;
  for (std::string item; std::getline(file, item, ',');) tokens.push_back(std::stoi(item));
  return tokens;
}

std::vector<double> log_softmax(const float* logits, std::size_t count) {
  const double highest = *std::max_element(logits, logits + count);
  double total = 0;
  for (std::size_t i = 0; i < count; ++i) total += std::exp(logits[i] - highest);
  std::vector<double> result(count);
  for (std::size_t i = 0; i < count; ++i) result[i] = logits[i] - highest - std::log(total);
  return result;
}

struct Difference {
  double kl = 0;        // mean over the rows
  double absolute = 0;  // largest
  double same_top = 0;  // share of rows with the same most likely token
};

Difference compare(const std::vector<float>& expected, const std::vector<float>& actual, std::size_t rows) {
  const std::size_t width = expected.size() / rows;
  Difference difference;
  for (std::size_t row = 0; row < rows; ++row) {
    const float* e = expected.data() + row * width;
    const float* a = actual.data() + row * width;
    const auto p = log_softmax(e, width);
    const auto q = log_softmax(a, width);
    for (std::size_t i = 0; i < width; ++i) {
      difference.kl += std::exp(p[i]) * (p[i] - q[i]) / static_cast<double>(rows);
      difference.absolute = std::max(difference.absolute, std::abs(static_cast<double>(e[i]) - a[i]));
    }
    const bool same = std::max_element(e, e + width) - e == std::max_element(a, a + width) - a;
    difference.same_top += same ? 1.0 / static_cast<double>(rows) : 0.0;
  }
  return difference;
}

void PrintTo(const Golden& golden, std::ostream* out) { *out << golden.name; }

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
  plan::Plan plan = plan::make_plan(model, program, hardware::probe(file), options);
  const auto engine = Engine::load(std::move(model), std::move(program), std::move(plan), {}, kNeverStop);
  std::vector<float> all;
  engine->score(
      tokens, 0, [&](std::span<const float> row) { all.insert(all.end(), row.begin(), row.end()); }, kNeverStop);
  return all;
}

class GoldenLogits : public testing::TestWithParam<Golden> {};

INSTANTIATE_TEST_SUITE_P(Files, GoldenLogits, testing::ValuesIn(kGolden), [](const auto& file) {
  std::string name = file.param.name;
  std::ranges::replace(name, '-', '_');
  return name;
});

void expect_within(const Difference& difference, const Golden& golden) {
  EXPECT_LT(difference.kl, golden.kl);
  EXPECT_GE(difference.same_top, 0.85);
  if (golden.absolute > 0) {
    EXPECT_LT(difference.absolute, golden.absolute);
  }
}

TEST_P(GoldenLogits, TheOracleAgrees) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const auto expected = read_floats(folder / (GetParam().name + ".logits.f32"));
  const gguf::Model model = gguf::open_model(folder / (GetParam().name + ".gguf"));
  expect_within(compare(expected, reference::logits(model, model::build_program(model), tokens), tokens.size()),
                GetParam());
}

TEST_P(GoldenLogits, TheEngineAgreesWithTheGoldenLogitsAndTheOracle) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const fs::path file = folder / (GetParam().name + ".gguf");
  const auto actual = engine_logits(file, tokens, {});
  const auto expected = read_floats(folder / (GetParam().name + ".logits.f32"));
  const Difference difference = compare(expected, actual, tokens.size());
  RecordProperty("kl", std::to_string(difference.kl));
  expect_within(difference, GetParam());
  const gguf::Model model = gguf::open_model(file);
  expect_within(compare(reference::logits(model, model::build_program(model), tokens), actual, tokens.size()),
                GetParam());
}

TEST_P(GoldenLogits, BatchedAndTokenByTokenAgree) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const fs::path file = folder / (GetParam().name + ".gguf");
  const auto batched = engine_logits(file, tokens, {});
  for (const std::uint32_t batch : {1U, 3U, 17U}) {
    const auto split = engine_logits(file, tokens, {.batch = batch});
    EXPECT_LT(compare(batched, split, tokens.size()).absolute, 1e-3) << "batch " << batch;
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

}  // namespace
}  // namespace loadline::engine
