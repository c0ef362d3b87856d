// What it costs that threads meet: a barrier inside a running team, and starting a team and waiting for it.
// Times are per barrier and per run. Threads beyond the processors sleep in the kernel, which costs far more.
#include <benchmark/benchmark.h>

#include <memory>

#include "base/thread_pool.h"

namespace {

constexpr int kBarriersPerRun = 1000;

void barrier(benchmark::State& state) {
  loadline::ThreadPool pool(static_cast<int>(state.range(0)));
  loadline::Barrier& meeting = pool.barrier();
  for (auto _ : state) {
    pool.run([&](int) noexcept {
      for (int i = 0; i < kBarriersPerRun; ++i) meeting.wait();
    });
  }
  state.SetItemsProcessed(state.iterations() * kBarriersPerRun);
  state.counters["barrier"] = benchmark::Counter(static_cast<double>(state.iterations()) * kBarriersPerRun,
                                                 benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(barrier)->DenseRange(1, 4)->UseRealTime();

void run_of_an_empty_function(benchmark::State& state) {
  loadline::ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) {
    pool.run([](int) noexcept {});
  }
}
BENCHMARK(run_of_an_empty_function)->DenseRange(1, 4)->UseRealTime();

}  // namespace
