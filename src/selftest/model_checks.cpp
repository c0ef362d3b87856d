// Whole models of our own making, on the card and divided between it and the CPU, against the oracle's logits.
#include <fmt/format.h>

#include <array>
#include <numeric>

#include "selftest/loaded.h"

namespace loadline::selftest {
namespace {

using quant::TensorType;

// What rounding explains: of float32 on both sides; of products whose factors are float16, as matrix units take them,
// or whose activations have eight bits, as the CPU takes them for quantised weights; of a cache in fewer bits.
constexpr Bound kExact{1e-6, 2e-3};
constexpr Bound kHalf{1e-4, 1e-1};
constexpr Bound kEightBits{5e-3, 1.0};
constexpr Bound kHalfCache{1e-5, 2e-2};
constexpr Bound kSmallCache{1e-3, 2e-1};

constexpr std::array<std::size_t, 7> kRuns = {20, 7, 1, 1, 1, 9, 1};  // a prompt, a few tokens, one at a time
constexpr std::size_t kRunTokens = std::accumulate(kRuns.begin(), kRuns.end(), std::size_t{0});

// The groups of the models here: the embedding, attention and feed-forward of each layer, the output.
constexpr std::size_t kFirstAttention = 1, kFirstFeedForward = 2, kSecondAttention = 3, kOutput = 5;

const model::FormatMix& mix_named(std::string_view name) { return *model::find_mix(name); }

void compare(Subject& subject, Row& row, std::string_view shape_name, std::string_view mix_name, const Loading& loading,
             const Bound& bound, std::span<const std::size_t> runs = kRuns) {
  const authoring::Shape& shape = *authoring::find_shape(shape_name);
  const model::FormatMix& mix = mix_named(mix_name);
  const std::size_t count = std::accumulate(runs.begin(), runs.end(), std::size_t{0});
  const std::vector<Token> tokens = random_tokens(count, shape.vocabulary);
  const std::vector<float>& expected = subject.models.oracle(shape, mix, tokens);
  const auto engine = load(subject, subject.models.file(shape, mix), loading);
  const std::vector<float> actual = logits_of(subject, *engine, tokens, runs);
  const Distance found = distance(expected, actual, shape.vocabulary);
  expect_within(found, bound);
  row.said = fmt::format("{} in {}, {} tokens: {}", shape.title, mix.name, count, text_of(found));
  row.figures = {{"divergence", found.kl, "nats"}, {"largest difference", found.absolute, "1"}};
}

// Of a model that is wholly on the card.
Bound whole(const Subject& subject, std::string_view mix) {
  const bool whole_numbers = mix.starts_with("Q");  // those of which bytes are multiplied, Q1_0 and the like aside
  if (subject.integer_dots && whole_numbers) return kEightBits;
  return subject.matrix_units && mix != "F32" && mix != "BF16" ? kHalf : kExact;
}

void add_whole(Checks& checks, std::string_view shape, std::string_view mix, int rank) {
  checks.push_back({"model", fmt::format("{} {}", shape, mix), rank, [shape, mix](Subject& subject, Row& row) {
                      compare(subject, row, shape, mix, {}, whole(subject, mix));
                    }});
}

void add_divided(Checks& checks, std::string_view name, int rank, const Loading& loading) {
  checks.push_back({"model", std::string(name), rank,
                    [loading](Subject& subject, Row& row) { compare(subject, row, "tiny", "F32", loading, kExact); }});
}

Loading with(std::function<plan::DeviceIndex(std::size_t)> device_of) {
  Loading loading;
  loading.device_of = std::move(device_of);
  return loading;
}

// A context of more than 512 cells, where the cells of single tokens are read in parts.
void check_long_context(Subject& subject, Row& row) {
  constexpr std::array<std::size_t, 9> kLong = {300, 200, 20, 8, 1, 1, 1, 8, 1};
  Loading loading;
  loading.context = 1024;
  loading.batch = 300;
  compare(subject, row, "tiny", "F32", loading, kExact, kLong);
}

void check_cache(Subject& subject, Row& row, TensorType type, const Bound& bound) {
  Loading loading;
  loading.cache = type;
  loading.context = 1024;
  compare(subject, row, "tiny-qwen3", "F32", loading, bound);
}

// Tokens of two sequences in every pass, each of which sees its own cells only.
void check_sequences(Subject& subject, Row& row) {
  const authoring::Shape& shape = *authoring::find_shape("tiny");
  const model::FormatMix& mix = mix_named("F32");
  const std::vector<Token> tokens = random_tokens(kRunTokens, shape.vocabulary);
  const std::vector<float>& expected = subject.models.oracle(shape, mix, tokens);
  Loading loading;
  loading.sequences = 2;
  const auto engine = load(subject, subject.models.file(shape, mix), loading);
  struct Counts {
    std::size_t first, second;
  };
  std::array<std::size_t, 2> done{};
  Distance worst;
  for (const Counts counts : {Counts{17, 1}, Counts{1, 12}, Counts{1, 1}, Counts{3, 2}, Counts{1, 20}}) {
    std::vector<exec::Input> inputs;
    std::vector<float> wanted;
    for (std::uint32_t s = 0; s < 2; ++s) {
      const std::size_t count = s == 0 ? counts.first : counts.second;
      inputs.push_back({s, std::span(tokens).subspan(done[s], count), exec::Want::All});
      const auto rows = std::span(expected).subspan(done[s] * shape.vocabulary, count * shape.vocabulary);
      wanted.insert(wanted.end(), rows.begin(), rows.end());
      done[s] += count;
    }
    if (!engine->executor().forward(inputs, subject.stop)) throw Stopped();
    std::vector<float> actual;
    for (std::size_t i = 0; i < counts.first + counts.second; ++i) {
      const auto logits = engine->executor().logits(i);
      actual.insert(actual.end(), logits.begin(), logits.end());
    }
    const Distance found = distance(wanted, actual, shape.vocabulary);
    expect_within(found, kExact);
    worst = {std::max(worst.kl, found.kl), std::max(worst.absolute, found.absolute)};
  }
  row.said = fmt::format("two side by side in every pass: {}", text_of(worst));
}

// A prompt whose halves are on CPU and card at the same time.
void check_halves(Subject& subject, Row& row) {
  const authoring::Shape& shape = *authoring::find_shape("tiny");
  const model::FormatMix& mix = mix_named("F32");
  const std::vector<Token> tokens = random_tokens(60, shape.vocabulary);
  const std::vector<float>& expected = subject.models.oracle(shape, mix, tokens);
  Loading loading = with([](std::size_t group) { return group % 2 == 1 ? kGpu : plan::kCpu; });
  loading.overlap_from = 40;
  const auto engine = load(subject, subject.models.file(shape, mix), loading);
  const exec::Input input{0, tokens, exec::Want::Last};
  if (!engine->executor().forward({&input, 1}, subject.stop)) throw Stopped();
  if (engine->executor().overlapped_passes() != 1) throw Mismatch("the pass was not halved");
  const Distance found =
      distance(std::span(expected).last(shape.vocabulary), engine->executor().logits(0), shape.vocabulary);
  expect_within(found, kExact);
  row.said = fmt::format("CPU and card at once, {} tokens: {}", tokens.size(), text_of(found));
}

// Quantised weights on both sides: the CPU rounds activations to eight bits.
void check_quantised_division(Subject& subject, Row& row) {
  compare(subject, row, "tiny-qwen3", "Q4_K_M", with([](std::size_t group) { return group >= 3 ? kGpu : plan::kCpu; }),
          kEightBits);
}

}  // namespace

void add_model_checks(Checks& checks) {
  add_whole(checks, "tiny", "F32", 1);
  add_whole(checks, "tiny-qwen3", "Q4_K_M", 1);
  add_whole(checks, "tiny-llama3", "F16", 2);
  add_whole(checks, "tiny-qwen2", "Q8_0", 2);
  add_whole(checks, "tiny-qwen3moe", "F32", 2);
  add_whole(checks, "tiny-gemma3", "F32", 2);
  add_whole(checks, "tiny-deepseek2", "F32", 3);
  add_whole(checks, "tiny", "Q6_K", 3);
  add_whole(checks, "tiny", "IQ2_XS", 3);
  add_whole(checks, "tiny", "MXFP4", 3);
  add_whole(checks, "tiny-qwen35", "F32", 2);
  add_whole(checks, "tiny-mamba2", "F32", 3);
  add_whole(checks, "tiny-lfm2", "F32", 3);
  checks.push_back({"model", "long context", 2, check_long_context});
  checks.push_back({"model", "cache F16", 2,
                    [](Subject& subject, Row& row) { check_cache(subject, row, TensorType::F16, kHalfCache); }});
  checks.push_back({"model", "cache Q8_0", 2,
                    [](Subject& subject, Row& row) { check_cache(subject, row, TensorType::Q8_0, kSmallCache); }});
  checks.push_back({"model", "two sequences", 2, check_sequences});
  checks.push_back({"model", "two halves", 2, check_halves});
  checks.push_back({"model", "quantised, divided", 2, check_quantised_division});
  add_divided(checks, "last layer", 2, with([](std::size_t g) { return g >= kSecondAttention ? kGpu : plan::kCpu; }));
  add_divided(checks, "first layer", 3, with([](std::size_t g) { return g < kSecondAttention ? kGpu : plan::kCpu; }));
  add_divided(checks, "attention only", 3,
              with([](std::size_t g) { return g == kFirstAttention || g == kSecondAttention ? kGpu : plan::kCpu; }));
  add_divided(checks, "feed-forward only", 3,
              with([](std::size_t g) { return g == kFirstFeedForward || g == 4 ? kGpu : plan::kCpu; }));
  add_divided(checks, "output only", 3, with([](std::size_t g) { return g == kOutput ? kGpu : plan::kCpu; }));
  Loading cache_in_ram;
  cache_in_ram.cache_in_ram = true;
  add_divided(checks, "cache in RAM", 2, cache_in_ram);
  Loading ring = with([](std::size_t) { return plan::kCpu; });
  ring.through = {kFirstAttention, kFirstFeedForward, kSecondAttention};
  add_divided(checks, "prompts through the ring", 2, ring);
}

}  // namespace loadline::selftest
