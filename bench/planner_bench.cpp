// How long planning takes: the aim is under 100 ms for a model of 126 layers.
#include <benchmark/benchmark.h>

#include "engine/backends.h"
#include "plan/machines.h"
#include "plan/models.h"
#include "plan/planner.h"

namespace loadline {
namespace {

void plan_model(benchmark::State& state, const test::ModelShape& shape, Bytes ram,
                const std::vector<std::string>& cards) {
  const gguf::Model model = test::make_model(shape, test::q4_k_m(shape.layers));
  const model::Program program = model::build_program(model);
  const hardware::Profile profile = test::machine(ram, cards);
  bool fits = false;
  for (auto _ : state) {
    fits = plan::try_plan(model, program, profile, {}, engine::backends()).fits;
    benchmark::DoNotOptimize(fits);
  }
  state.SetLabel(fits ? "fits" : "does not fit");
}

const std::vector<std::string> kNone, kOne = {"RTX 3060"}, kTwo = {"RTX 3060", "RTX 4090"},
                                      kThree = {"RTX 3060", "RTX 4090", "RTX 3090"};

BENCHMARK_CAPTURE(plan_model, 8b_ram, test::llama_3_8b(), 64 * kGiB, kNone)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_model, 8b_one_gpu, test::llama_3_8b(), 64 * kGiB, {"RTX 3050 Ti Mobile"})
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_model, 405b_ram, test::llama_3_1_405b(), 512 * kGiB, kNone)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_model, 405b_one_gpu, test::llama_3_1_405b(), 512 * kGiB, kOne)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_model, 405b_two_gpus, test::llama_3_1_405b(), 512 * kGiB, kTwo)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_model, 405b_three_gpus, test::llama_3_1_405b(), 512 * kGiB, kThree)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_model, 405b_from_disk, test::llama_3_1_405b(), 64 * kGiB, kNone)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_model, 405b_one_gpu_from_disk, test::llama_3_1_405b(), 64 * kGiB, kOne)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plan_model, 405b_two_gpus_from_disk, test::llama_3_1_405b(), 64 * kGiB, kTwo)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace loadline
