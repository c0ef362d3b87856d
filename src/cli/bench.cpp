// `loadline bench`: prompt and generation speed of a model here, as a share of what this machine can do at most.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/plan_options.h"
#include "cli/terminal.h"
#include "engine/benchmark.h"
#include "hardware/measure_cpu.h"
#include "plan/planner.h"

namespace loadline::cli {
namespace {

struct Options {
  std::string model;
  engine::BenchmarkOptions test;
  bool json = false;
  PlanOptions plan;
};

// What the machine can do, measured in the same run as what the model did.
struct Limits {
  double read_bandwidth = 0;  // bytes/s
  double int8_ops = 0;        // operations/s
};

Limits measure_limits(unsigned threads) {
  return {hardware::measure_read_bandwidth(threads),
          hardware::measure_int8_peak(hardware::measurable_instruction_sets().back(), threads)};
}

// The limit a row comes closest to.
struct Bound {
  std::string name;
  double share = 0;
};

Bound bound_of(const engine::BenchmarkRow& row, const Limits& limits) {
  const double memory = row.median * row.bytes_per_token / limits.read_bandwidth;
  const double compute = row.median * row.ops_per_token / limits.int8_ops;
  if (memory > compute) return {fmt::format("RAM {:.1f} GB/s", limits.read_bandwidth / 1e9), memory};
  return {fmt::format("int8 {:.2f} Tops", limits.int8_ops / 1e12), compute};
}

void print_table(const std::vector<engine::BenchmarkRow>& rows, const Limits& limits) {
  fmt::print("{:<16} {:>9}  {:<9} {:<16} {}\n", "test", "tok/s", "spread", "bound by", "share of it");
  for (const engine::BenchmarkRow& row : rows) {
    const Bound bound = bound_of(row, limits);
    const int decimals = row.median < 10 ? 2 : row.median < 1000 ? 1 : 0;
    fmt::print("{:<16} {:>9.{}f}  ±{:<8.{}f} {:<16} {:.0f} %\n", row.test, row.median, decimals, row.spread, decimals,
               bound.name, bound.share * 100);
  }
}

void print_json(const std::vector<engine::BenchmarkRow>& rows, const Limits& limits, const plan::Plan& plan) {
  nlohmann::ordered_json result;
  result["model"] = plan.model_name;
  result["threads"] = plan.shape.threads;
  result["read_bandwidth"] = limits.read_bandwidth;
  result["int8_ops"] = limits.int8_ops;
  result["predicted"] = {{"prompt", plan.prediction.prompt_rate}, {"generation", plan.prediction.generation_rate}};
  for (const engine::BenchmarkRow& row : rows) {
    const Bound bound = bound_of(row, limits);
    result["tests"].push_back({{"test", row.test},
                               {"tokens_per_second", row.median},
                               {"spread", row.spread},
                               {"repeats", row.rates},
                               {"bytes_per_token", row.bytes_per_token},
                               {"ops_per_token", row.ops_per_token},
                               {"bound_by", bound.name},
                               {"share", bound.share}});
  }
  fmt::print("{}\n", result.dump(2));
}

int run(const Options& options) {
  ModelSource source = open_source(options.model);
  plan::Options wanted = options.plan.options();
  const std::uint32_t needed = engine::context_needed(options.test);
  if (!wanted.context || *wanted.context < needed) wanted.context = needed;
  wanted.sequences = options.test.sequences;
  wanted.outputs = options.test.sequences;
  const plan::Plan plan = plan::make_plan(source.model, source.program, options.plan.profile(source.model), wanted);
  const StopOnInterrupt interrupt;
  const Limits limits = measure_limits(plan.shape.threads);
  const auto engine =
      engine::Engine::load(std::move(source.model), std::move(source.program), plan, {}, interrupt.flag());
  if (engine == nullptr) return static_cast<int>(ErrorCode::Interrupted);
  const auto rows = engine::benchmark(*engine, options.test, interrupt.flag());
  options.json ? print_json(rows, limits, plan) : print_table(rows, limits);
  return interrupt.flag().load() ? static_cast<int>(ErrorCode::Interrupted) : 0;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure prompt and generation speed (without -m: of the demo model)");
  command->add_option("-m,--model", options->model, "GGUF file, or the first file of a split model");
  command->add_option("-p,--n-prompt", options->test.prompt, "Tokens of the prompt test (0: none)")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("-n,--n-gen", options->test.generate, "Tokens of the generation test (0: none)")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("-d,--n-depth", options->test.depth, "Tokens in the context before each test")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("-r,--repetitions", options->test.repeats, "Counted runs of each test")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--sequences", options->test.sequences, "Sequences that generate side by side")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print the figures as JSON");
  options->plan.add_to(*command);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace loadline::cli
