// How fast synthetic models that fit the card run, as a share of what the card was measured to do, and against what was
// predicted. What a slow machine reaches is shown and not judged; nor is a software device.
#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "engine/backends.h"
#include "engine/benchmark.h"
#include "plan/planner.h"
#include "selftest/loaded.h"

namespace loadline::selftest {
namespace {

using quant::TensorType;

// Layers of the 8B shape, so many that no cache holds the weights; small ones for a software device.
constexpr authoring::Shape kLarge{"selftest-8b",
                                  "layers of 8B",
                                  "llama",
                                  authoring::VocabularyKind::SentencePiece,
                                  8,
                                  4096,
                                  14336,
                                  32,
                                  8,
                                  128,
                                  4096,
                                  32768,
                                  5e5F,
                                  1e-5F,
                                  false,
                                  0};
constexpr authoring::Shape kSmall{"selftest-small",
                                  "small layers",
                                  "llama",
                                  authoring::VocabularyKind::SentencePiece,
                                  4,
                                  256,
                                  768,
                                  4,
                                  2,
                                  64,
                                  1024,
                                  32768,
                                  1e4F,
                                  1e-5F,
                                  false,
                                  0};

constexpr Bytes kWeights = 5 * kGiB / 4;
constexpr double kBandwidthShare = 0.85;  // of the measured bandwidth, that a token's bytes are to take at most
constexpr double kStepSeconds = 3e-6;     // and for each dependent step besides
constexpr double kStepsPerLayer = 6;      // docs/vulkan.md
constexpr double kProductShare = 0.35;    // of the largest square product, that a prompt is to reach
constexpr std::string_view kUsualMix = "Q4_K_M";
constexpr double kPredicted = 0.2;  // a prediction may be off by

// About a GiB of weights on a real card, whatever their format.
authoring::Shape shape_for(const Subject& subject, std::string_view mix) {
  authoring::Shape shape = subject.software() ? kSmall : kLarge;
  const Bytes all = model::size_in_mix(*model::find_mix(mix), {shape.layers, shape.heads, shape.kv_heads, false},
                                       authoring::tensors_of(shape, *model::find_mix(mix)));
  while (shape.layers > 2 && !subject.software() && all / kLarge.layers * shape.layers > kWeights) --shape.layers;
  return shape;
}

// While it lives, this process does without matrix units, or whatever the variable is for.
class Without {
 public:
  explicit Without(const char* variable) : variable_(variable) { ::setenv(variable, "0", 1); }
  ~Without() { ::unsetenv(variable_); }
  Without(const Without&) = delete;
  Without& operator=(const Without&) = delete;

 private:
  const char* variable_;
};
constexpr const char* kMatrixUnits = "LOADLINE_VULKAN_MATRIX_UNITS";
constexpr const char* kIntegerDots = "LOADLINE_VULKAN_INTEGER_DOTS";

std::unique_ptr<Engine> load_for_speed(Subject& subject, std::string_view mix, plan::Options options,
                                       const engine::BenchmarkOptions& test) {
  options.context = engine::context_needed(test);
  options.sequences = engine::most_sequences(test);
  std::filesystem::path file;
  try {
    file = subject.models.file(shape_for(subject, mix), *model::find_mix(mix));
  } catch (const Error& error) {
    throw NotHere(error.what());  // no room for the file
  }
  try {
    auto engine = load_planned(subject, file, options);
    if (mix != kUsualMix) subject.models.drop(file);
    return engine;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::DoesNotFit) throw;
    throw NotHere(error.what());
  }
}

plan::Options wholly() {
  plan::Options options;
  options.gpu_layers.kind = plan::GpuLayers::Kind::All;
  return options;
}

std::vector<engine::BenchmarkRow> measure(Subject& subject, Engine& engine, const engine::BenchmarkOptions& test) {
  std::vector<engine::BenchmarkRow> rows = engine::benchmark(engine, test, subject.stop);
  subject.check_time();
  return rows;
}

engine::BenchmarkOptions generating(const Subject& subject) {
  engine::BenchmarkOptions test;
  test.prompt = 0;
  test.generate = subject.software() ? 4 : 64;
  test.repeats = subject.software() ? 1 : 3;
  return test;
}

engine::BenchmarkOptions reading(const Subject& subject) {
  engine::BenchmarkOptions test = generating(subject);
  test.prompt = subject.software() ? 64 : 512;
  test.generate = 0;
  test.repeats = subject.software() ? 1 : 3;
  return test;
}

void judge(Subject& subject, Row& row, bool reached) {
  row.verdict = subject.software() ? Verdict::Measured : reached ? Verdict::Passed : Verdict::Missed;
}

// Both bounds need to know what the card can do.
double bandwidth_of(Subject& subject) {
  if (subject.gpu().float_ops == 0) throw NotKnown("the card's rates are not known");
  return subject.gpu().memory_bandwidth;
}

void see_generation(Subject& subject, Row& row, std::string_view mix) {
  const double bandwidth = bandwidth_of(subject);
  const engine::BenchmarkOptions test = generating(subject);
  const auto engine = load_for_speed(subject, mix, wholly(), test);
  const engine::BenchmarkRow seen = measure(subject, *engine, test).at(0);
  const double seconds = 1 / seen.median;
  const double steps = kStepsPerLayer * shape_for(subject, mix).layers * kStepSeconds;
  const double share = seen.bytes_per_token / bandwidth / std::max(seconds - steps, 1e-9);
  judge(subject, row, share >= kBandwidthShare);
  row.said = fmt::format("{:.1f} tokens/s, {:.0f} % of the bandwidth beside {:.0f} us of steps ({:.0f} % are meant)",
                         seen.median, share * 100, steps * 1e6, kBandwidthShare * 100);
  row.figures = {{"generation", seen.median, "tokens/s"},
                 {"share of the bandwidth", share, "1"},
                 {"bytes", seen.bytes_per_token, "bytes/token"}};
}

void see_generation_in_floats(Subject& subject, Row& row) {
  if (!subject.integer_dots) throw NotHere("this card has no fast products of bytes to do without");
  const Without without(kIntegerDots);
  see_generation(subject, row, kUsualMix);
}

void see_prompt(Subject& subject, Row& row, bool with_units) {
  if (subject.square_product == 0) throw NotKnown("the largest square product is not known");
  if (!with_units && !subject.matrix_units) throw NotHere("this card has no matrix units to do without");
  std::optional<Without> without;
  if (!with_units) without.emplace(kMatrixUnits);
  const engine::BenchmarkOptions test = reading(subject);
  const auto engine = load_for_speed(subject, kUsualMix, wholly(), test);
  const engine::BenchmarkRow seen = measure(subject, *engine, test).at(0);
  const double share = seen.median * seen.ops_per_token / subject.square_product;
  judge(subject, row, !with_units || share >= kProductShare);
  row.said = fmt::format("{} tokens at {:.0f} tokens/s, {:.0f} % of the largest square product", test.prompt,
                         seen.median, share * 100);
  row.figures = {{"prompt", seen.median, "tokens/s"}, {"share of the square product", share, "1"}};
}

void see_depth(Subject& subject, Row& row) {
  const double bandwidth = bandwidth_of(subject);
  engine::BenchmarkOptions test = generating(subject);
  test.depth = subject.software() ? 64 : 8192;
  const auto engine = load_for_speed(subject, kUsualMix, wholly(), test);
  const engine::BenchmarkRow seen = measure(subject, *engine, test).at(0);
  const double share = seen.bytes_per_token * seen.median / bandwidth;
  row.verdict = Verdict::Measured;
  row.said = fmt::format("{:.1f} tokens/s behind {} tokens, {:.0f} % of the bandwidth, cache included", seen.median,
                         test.depth, share * 100);
  row.figures = {{"generation", seen.median, "tokens/s"}, {"share of the bandwidth", share, "1"}};
}

void see_batches(Subject& subject, Row& row) {
  engine::BenchmarkOptions test = generating(subject);
  test.sequences = {1, 4};
  if (!subject.software()) test.sequences.push_back(16);
  const auto engine = load_for_speed(subject, kUsualMix, wholly(), test);
  const std::vector<engine::BenchmarkRow> seen = measure(subject, *engine, test);
  row.verdict = Verdict::Measured;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    row.said += fmt::format("{}{} at once: {:.1f} tokens/s", i == 0 ? "" : ", ", test.sequences.at(i), seen[i].median);
    row.figures.push_back({fmt::format("{} sequences", test.sequences.at(i)), seen[i].median, "tokens/s"});
  }
}

// So many quarters of the layers on the card, against the prediction for just that.
void see_mixed(Subject& subject, Row& row, std::uint32_t quarters) {
  bandwidth_of(subject);
  const engine::BenchmarkOptions test = generating(subject);
  plan::Options options;
  // The output counts as one more layer, and goes first.
  options.gpu_layers = {plan::GpuLayers::Kind::Count,
                        shape_for(subject, kUsualMix).layers * quarters / 4 + (quarters == 4 ? 1U : 0U)};
  options.prompt_offload = false;
  const auto engine = load_for_speed(subject, kUsualMix, options, test);
  const engine::BenchmarkRow seen = measure(subject, *engine, test).at(0);
  const double predicted = engine->plan().prediction.generation_rate;
  const double ratio = seen.median / predicted;
  judge(subject, row, ratio >= 1 - kPredicted && ratio <= 1 + kPredicted);
  // What the CPU reaches here nobody measured, unless `devices --measure` did.
  if (quarters != 4 && subject.machine.measured.empty()) row.verdict = Verdict::Measured;
  row.said = fmt::format("{:.1f} tokens/s where {:.1f} are predicted ({:.2f} of it)", seen.median, predicted, ratio);
  row.figures = {
      {"generation", seen.median, "tokens/s"}, {"predicted", predicted, "tokens/s"}, {"of the prediction", ratio, "1"}};
}

}  // namespace

void add_speed_checks(Checks& checks) {
  constexpr std::array kFormats = {"Q4_K_M", "Q8_0",   "Q6_K",  "F16",   "Q4_0",    "Q5_K_M", "Q3_K_M",
                                   "Q2_K",   "IQ4_XS", "MXFP4", "IQ3_S", "IQ2_XXS", "IQ1_S",  "IQ4_NL",
                                   "Q5_0",   "NVFP4",  "TQ2_0", "BF16",  "Q4_1",    "Q5_1",   "IQ3_XXS",
                                   "IQ2_S",  "IQ1_M",  "TQ1_0", "Q1_0",  "Q2_0",    "F32",    "IQ2_XS"};
  constexpr std::size_t kUsualFormats = 4;
  for (std::size_t i = 0; i < kFormats.size(); ++i) {
    const char* mix = kFormats.at(i);
    checks.push_back({"speed", fmt::format("generation {}", mix),
                      i == 0              ? 2
                      : i < kUsualFormats ? 4
                                          : 5,
                      [mix, few = i < kUsualFormats](Subject& subject, Row& row) {
                        if (!few && subject.software()) throw NotHere("a software device's speed in it says nothing");
                        see_generation(subject, row, mix);
                      }});
  }
  checks.push_back({"speed", "prompt", 2, [](Subject& subject, Row& row) { see_prompt(subject, row, true); }});
  checks.push_back(
      {"speed", "prompt without units", 4, [](Subject& subject, Row& row) { see_prompt(subject, row, false); }});
  checks.push_back({"speed", "generation in floats", 4, see_generation_in_floats});
  checks.push_back({"speed", "depth", 4, see_depth});
  checks.push_back({"speed", "batches", 4, see_batches});
  for (const std::uint32_t quarters : {4U, 2U, 1U, 3U}) {
    checks.push_back({"speed",
                      quarters == 4 ? std::string("prediction, whole") : fmt::format("{}/4 of the layers", quarters), 4,
                      [quarters](Subject& subject, Row& row) { see_mixed(subject, row, quarters); }});
  }
}

}  // namespace loadline::selftest
