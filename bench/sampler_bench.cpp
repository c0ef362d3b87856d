// What choosing a token costs, by vocabulary and options: beside a generation of some milliseconds a token it should
// not be seen.
#include <benchmark/benchmark.h>

#include <vector>

#include "sample/sampler.h"

namespace {

using loadline::sample::Options;
using loadline::sample::Random;
using loadline::sample::Sampler;

// A few tokens stand out from thousands of unlikely ones, as after a trained model.
std::vector<float> logits_like_a_models(std::int64_t vocabulary) {
  Random random(1);
  std::vector<float> logits(static_cast<std::size_t>(vocabulary));
  for (float& logit : logits) {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += random.uniform();  // about normal, variance 1
    logit = static_cast<float>(2.5 * (sum - 6));
  }
  return logits;
}

void sample(benchmark::State& state, Options options) {
  options.seed = 1;
  const std::vector<float> logits = logits_like_a_models(state.range(0));
  Sampler sampler(options, static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) sampler.accept(sampler.sample(logits));
}

Options greedy() {
  Options options;
  options.temperature = 0;
  return options;
}

Options penalties() {
  Options options;
  options.repeat_penalty = 1.1F;
  return options;
}

Options without_top_k() {
  Options options;
  options.top_k = 0;
  return options;
}

Options typical() {
  Options options = without_top_k();
  options.typical_p = 0.9F;
  return options;
}

BENCHMARK_CAPTURE(sample, greedy, greedy())->Arg(32'000)->Arg(128'256)->Arg(256'000)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, defaults, Options())->Arg(32'000)->Arg(128'256)->Arg(256'000)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, penalties, penalties())->Arg(128'256)->Arg(256'000)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, without_top_k, without_top_k())->Arg(128'256)->Arg(256'000)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, typical, typical())->Arg(128'256)->Arg(256'000)->Unit(benchmark::kMicrosecond);

}  // namespace
