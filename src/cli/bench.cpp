// `loadline bench`: prompt and generation speed of a model here, as a share of what this machine can do at most.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <span>

#include "base/error.h"
#include "cli/command.h"
#include "cli/help.h"
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

// What a device can do, measured in the same run as what the model did: the processor's before and after it, of which
// the better counts, as what others do on the machine only ever makes a figure smaller.
struct Limits {
  std::string name = "RAM";  // of what is read
  std::string arithmetic = "int8";
  double read_bandwidth = 0;            // bytes/s
  double ops = 0;                       // operations/s
  double int8_ops = 0, matrix_ops = 0;  // of the processor, whichever of them `ops` is
};

// Memory's: where weights fill as much, that very memory's, which may be slower to read than a smaller piece: part of
// that stays in a large last cache, and where the pages lie matters too.
constexpr Bytes kLeastWeights = 512 * kMiB;
void measure_memory(const plan::Shape& shape, std::span<const std::byte> weights, Limits& limits) {
  const double rate = weights.size() < kLeastWeights.value ? hardware::measure_read_bandwidth(shape.threads)
                                                           : hardware::measure_read_bandwidth(shape.threads, weights);
  limits.read_bandwidth = std::max(limits.read_bandwidth, rate);
}

// A prompt is measured against the matrix unit where that multiplies.
void measure_arithmetic(const plan::Shape& shape, Limits& limits) {
  const std::string best = hardware::measurable_instruction_sets().back();
  limits.int8_ops = std::max(limits.int8_ops, hardware::measure_int8_peak(best, shape.threads));
  if (shape.matrix_unit) limits.matrix_ops = std::max(limits.matrix_ops, hardware::measure_matrix_peak(shape.threads));
  limits.arithmetic = limits.matrix_ops > 0 ? "bf16" : "int8";
  limits.ops = limits.matrix_ops > 0 ? limits.matrix_ops : limits.int8_ops;
}

// The limit a row comes closest to.
struct Bound {
  std::string name;
  double share = 0;
};

Bound bound_at(double tokens_per_second, double bytes_per_token, double ops_per_token, const Limits& limits) {
  const double memory = limits.read_bandwidth > 0 ? tokens_per_second * bytes_per_token / limits.read_bandwidth : 0;
  const double compute = limits.ops > 0 ? tokens_per_second * ops_per_token / limits.ops : 0;
  if (memory > compute) return {fmt::format("{} {:.1f} GB/s", limits.name, limits.read_bandwidth / 1e9), memory};
  const bool little = limits.ops < 1e12;
  return {fmt::format("{} {:.{}f} {}ops", limits.arithmetic, limits.ops / (little ? 1e9 : 1e12), little ? 0 : 2,
                      little ? "G" : "T"),
          compute};
}

// Of one device, while it was at work.
Bound bound_of(const engine::BenchmarkRow& row, const engine::BenchmarkRow::Part& part, const Limits& limits) {
  return bound_at(part.busy > 0 ? row.median / part.busy : 0, part.bytes_per_token, part.ops_per_token, limits);
}

// With several devices, that of the busiest.
Bound bound_of(const engine::BenchmarkRow& row, const std::vector<Limits>& limits) {
  if (row.parts.empty()) return bound_at(row.median, row.bytes_per_token, row.ops_per_token, limits.front());
  const auto busiest = std::ranges::max_element(row.parts, {}, &engine::BenchmarkRow::Part::busy);
  return bound_of(row, *busiest, limits[busiest->device]);
}

std::string device_name(plan::DeviceIndex device) {
  return device == plan::kCpu ? "CPU" : fmt::format("GPU {}", device - 1);
}

void print_table(const std::vector<engine::BenchmarkRow>& rows, const std::vector<Limits>& limits) {
  fmt::print("{:<16} {:>9}  {:<9} {:<18} {}\n", "test", "tok/s", "spread", "bound by", "share of it");
  for (const engine::BenchmarkRow& row : rows) {
    const Bound bound = bound_of(row, limits);
    const int decimals = row.median < 10 ? 2 : row.median < 1000 ? 1 : 0;
    fmt::print("{:<16} {:>9.{}f}  ±{:<8.{}f} {:<18} {:.0f} %\n", row.test, row.median, decimals, row.spread, decimals,
               bound.name, bound.share * 100);
    for (const engine::BenchmarkRow::Part& part : row.parts) {
      const Bound own = bound_of(row, part, limits[part.device]);
      fmt::print("  {:<14} {:>9}  {:<9} {:<18} {:.0f} %\n", device_name(part.device),
                 fmt::format("busy {:.0f} %", part.busy * 100), "", own.name, own.share * 100);
    }
  }
}

void print_json(const std::vector<engine::BenchmarkRow>& rows, const std::vector<Limits>& limits,
                const plan::Plan& plan) {
  nlohmann::ordered_json result;
  result["model"] = plan.model_name;
  result["threads"] = plan.shape.threads;
  result["read_bandwidth"] = limits.front().read_bandwidth;
  result["int8_ops"] = limits.front().int8_ops;
  if (limits.front().matrix_ops > 0) result["matrix_ops"] = limits.front().matrix_ops;
  for (std::size_t i = 1; i < limits.size(); ++i) {
    result["gpus"].push_back(
        {{"name", plan.tiers[i].name}, {"read_bandwidth", limits[i].read_bandwidth}, {"float_ops", limits[i].ops}});
  }
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
    for (const engine::BenchmarkRow::Part& part : row.parts) {
      const Bound own = bound_of(row, part, limits[part.device]);
      result["tests"].back()["devices"].push_back({{"device", device_name(part.device)},
                                                   {"busy", part.busy},
                                                   {"bytes_per_token", part.bytes_per_token},
                                                   {"ops_per_token", part.ops_per_token},
                                                   {"bound_by", own.name},
                                                   {"share", own.share}});
    }
  }
  fmt::print("{}\n", result.dump(2));
}

int run(const Options& options) {
  ModelSource source = open_source(options.model);
  plan::Options wanted = options.plan.options();
  const std::uint32_t needed = engine::context_needed(options.test);
  if (!wanted.context || *wanted.context < needed) wanted.context = needed;
  wanted.sequences = engine::most_sequences(options.test);
  wanted.outputs = wanted.sequences;
  const plan::Plan plan = plan::make_plan(source.model, source.program, options.plan.profile(source.model), wanted);
  const StopOnInterrupt interrupt;
  std::vector<Limits> limits(1);  // per device of the plan
  measure_arithmetic(plan.shape, limits[0]);
  auto engine = engine::Engine::load(std::move(source.model), std::move(source.program), plan, {}, interrupt.flag());
  if (engine == nullptr) return static_cast<int>(ErrorCode::Interrupted);
  measure_memory(plan.shape, engine->weights_in_ram(), limits[0]);
  for (plan::DeviceIndex i = 1; i < plan.scratch.size(); ++i) {
    const engine::Engine::GpuPeaks peaks = engine->measure_gpu(i);
    limits.push_back({"VRAM", "float32", peaks.read_bandwidth, peaks.float_ops});
  }
  const auto rows = engine::benchmark(*engine, options.test, interrupt.flag());
  if (!interrupt.flag().load()) {
    measure_memory(plan.shape, engine->weights_in_ram(), limits[0]);
    measure_arithmetic(plan.shape, limits[0]);
  }
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
      ->check(in_range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("-n,--n-gen", options->test.generate, "Tokens of the generation test (0: none)")
      ->check(in_range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("-d,--n-depth", options->test.depth, "Tokens in the context before each test")
      ->check(in_range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("-r,--repetitions", options->test.repeats, "Counted runs of each test")
      ->check(in_range(1, 1000))
      ->capture_default_str();
  command
      ->add_option("--npl,--sequences", options->test.sequences,
                   "Sequences that generate side by side; several numbers, such as 1,2,4,8, are a test each")
      ->delimiter(',')
      ->check(in_range(1, 256))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print the figures as JSON");
  options->plan.add_to(*command);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace loadline::cli
