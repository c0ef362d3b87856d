// `loadline bench`: prompt and generation speed of a model here, as a share of what this machine can do at most.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <span>

#include "base/error.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/plan_options.h"
#include "cli/terminal.h"
#include "engine/backends.h"
#include "engine/benchmark.h"
#include "engine/session_benchmark.h"
#include "hardware/measure_cpu.h"
#include "plan/planner.h"

namespace loadline::cli {
namespace {

struct BenchOptions {
  ModelOptions model;
  engine::BenchmarkOptions test;
  std::uint32_t sessions = 0;  // beside each other, in place of the tests
  engine::SessionBenchmarkOptions beside;
  bool json = false;
  PlanOptions plan;
};

// What a device can do at most.
struct Limits {
  std::string name = "RAM";  // of what is read
  std::string arithmetic = "int8";
  double read_bandwidth = 0;            // bytes/s
  double ops = 0;                       // operations/s
  double int8_ops = 0, matrix_ops = 0;  // of the processor, whichever of them `ops` is
};

// The processor's, in turn with its work. A prompt is measured against the matrix unit where that multiplies.
class ProcessorLimits {
 public:
  ProcessorLimits(const plan::Shape& shape, std::span<const std::byte> weights)
      : shape_(shape), weights_(weights.size() < kLeastWeights.value ? std::span<const std::byte>() : weights) {}

  Limits measure() {
    Limits limits;
    limits.read_bandwidth = read_bandwidth();
    limits.int8_ops = hardware::measure_int8_peak(hardware::measurable_instruction_sets().back(), shape_.threads);
    if (shape_.matrix_unit) limits.matrix_ops = hardware::measure_matrix_peak(shape_.threads);
    limits.arithmetic = limits.matrix_ops > 0 ? "bf16" : "int8";
    limits.ops = limits.matrix_ops > 0 ? limits.matrix_ops : limits.int8_ops;
    return limits;
  }

 private:
  // Where weights fill as much, that very memory's, which may be slower to read than a smaller piece: part of that
  // stays in a large last cache, and where the pages lie matters too. Else of memory taken for it, once, as that takes
  // a second.
  static constexpr Bytes kLeastWeights = 512 * kMiB;
  double read_bandwidth() {
    if (!weights_.empty()) return hardware::measure_read_bandwidth(shape_.threads, weights_);
    if (elsewhere_ == 0) elsewhere_ = hardware::measure_read_bandwidth(shape_.threads);
    return elsewhere_;
  }

  const plan::Shape& shape_;
  const std::span<const std::byte> weights_;
  double elsewhere_ = 0;
};

// Of each figure the median; nothing but zeros where nothing was measured.
Limits median_of(const std::vector<Limits>& measured) {
  if (measured.empty()) return {};
  Limits limits = measured.front();
  for (double Limits::* figure : {&Limits::read_bandwidth, &Limits::ops, &Limits::int8_ops, &Limits::matrix_ops}) {
    std::vector<double> values;
    for (const Limits& one : measured) values.push_back(one.*figure);
    limits.*figure = engine::quantile(std::move(values), 0.5);
  }
  return limits;
}

// A test's row, and the limits of each device of the plan while it ran.
struct Result {
  engine::BenchmarkRow row;
  std::vector<Limits> limits;
};

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
Bound bound_of(const Result& result) {
  const auto& [row, limits] = result;
  if (row.parts.empty()) return bound_at(row.median, row.bytes_per_token, row.ops_per_token, limits.front());
  const auto busiest = std::ranges::max_element(row.parts, {}, &engine::BenchmarkRow::Part::busy);
  return bound_of(row, *busiest, limits[busiest->device]);
}

std::string device_name(plan::DeviceIndex device) {
  return device == plan::kCpu ? "CPU" : fmt::format("GPU {}", device - 1);
}

void print_table(const std::vector<Result>& results) {
  print(fmt::format("{:<16} {:>9}  {:<9} {:<18} {}\n", "test", "tok/s", "spread", "bound by", "share of it"));
  for (const Result& result : results) {
    const auto& [row, limits] = result;
    const Bound bound = bound_of(result);
    const int decimals = row.median < 10 ? 2 : row.median < 1000 ? 1 : 0;
    print(fmt::format("{:<16} {:>9.{}f}  ±{:<8.{}f} {:<18} {:.0f} %\n", row.test, row.median, decimals, row.spread,
                      decimals, bound.name, bound.share * 100));
    for (const engine::BenchmarkRow::Part& part : row.parts) {
      const Bound own = bound_of(row, part, limits[part.device]);
      print(fmt::format("  {:<14} {:>9}  {:<9} {:<18} {:.0f} %\n", device_name(part.device),
                        fmt::format("busy {:.0f} %", part.busy * 100), "", own.name, own.share * 100));
    }
  }
}

void print_results(const std::vector<Result>& results, const std::vector<Limits>& overall, const plan::Plan& plan) {
  nlohmann::ordered_json result;
  result["model"] = plan.model_name;
  result["threads"] = plan.shape.threads;
  result["read_bandwidth"] = overall.front().read_bandwidth;
  result["int8_ops"] = overall.front().int8_ops;
  if (overall.front().matrix_ops > 0) result["matrix_ops"] = overall.front().matrix_ops;
  for (std::size_t i = 1; i < overall.size(); ++i) {
    result["gpus"].push_back(
        {{"name", plan.tiers[i].name}, {"read_bandwidth", overall[i].read_bandwidth}, {"float_ops", overall[i].ops}});
  }
  result["predicted"] = {{"prompt", plan.prediction.prompt_rate}, {"generation", plan.prediction.generation_rate}};
  for (const Result& one : results) {
    const auto& [row, limits] = one;
    const Bound bound = bound_of(one);
    result["tests"].push_back({{"test", row.test},
                               {"tokens_per_second", row.median},
                               {"spread", row.spread},
                               {"repeats", row.rates},
                               {"bytes_per_token", row.bytes_per_token},
                               {"ops_per_token", row.ops_per_token},
                               {"read_bandwidth", limits.front().read_bandwidth},
                               {"int8_ops", limits.front().int8_ops},
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
  print_json(result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void print_sessions(const engine::SessionBenchmarkResult& r, const engine::SessionBenchmarkOptions& options,
                    bool json) {
  const double bound = exec::SchedulerOptions().longest_shared_pass;
  if (json) {
    nlohmann::ordered_json result = {{"sessions", options.sessions},     {"prompt_rate", r.prompt_rate},
                                     {"alone_rate", r.alone_rate},       {"together_rate", r.together_rate},
                                     {"prompt_tokens", r.prompt_tokens}, {"computed_tokens", r.computed_tokens},
                                     {"gap_alone", r.gap_alone},         {"gap_beside", r.gap_beside},
                                     {"tokens_beside", r.tokens_beside}, {"longest_shared_pass", bound}};
    print_json(result.dump(2) + "\n");
    return;
  }
  print(fmt::format("one session       {:.2f} tok/s\n", r.alone_rate));
  print(fmt::format("{} sessions        {:.2f} tok/s together: {:.2f} times one, {:.0f} % of a prompt's {:.1f} tok/s\n",
                    options.sessions, r.together_rate, r.together_rate / r.alone_rate,
                    100 * r.together_rate / r.prompt_rate, r.prompt_rate));
  print(fmt::format("their prompts     {} tokens, of which {} were computed ({} begin all of them)\n", r.prompt_tokens,
                    r.computed_tokens, options.common));
  print(fmt::format(
      "longest gap       {:.0f} ms alone, {:.0f} ms while a prompt of {} tokens is read ({:.1f} times; a shared "
      "pass is planned for {:.0f} ms), {} tokens meanwhile\n",
      1000 * r.gap_alone, 1000 * r.gap_beside, options.prompt, r.gap_beside / r.gap_alone, 1000 * bound,
      r.tokens_beside));
}

int run_sessions(const BenchOptions& options) {
  ModelSource source = options.model.open(options.plan.most_header());
  engine::SessionBenchmarkOptions test = options.beside;
  test.sessions = options.sessions;
  plan::Options wanted = options.plan.options();
  const std::uint32_t needed = engine::context_needed(test);
  if (!wanted.context || *wanted.context < needed) wanted.context = needed;
  wanted.sequences = wanted.outputs = engine::sequences_needed(test);
  plan::Plan plan =
      plan::make_plan(source.model, source.program, options.plan.profile(source.model), wanted, engine::backends());
  const StopOnInterrupt interrupt;
  const auto engine =
      engine::Engine::load(std::move(source.model), std::move(source.program), std::move(plan), {}, interrupt.flag());
  if (engine == nullptr) return static_cast<int>(ErrorCode::Interrupted);
  const auto result = engine::benchmark_sessions(*engine, test, interrupt.flag());
  if (!result) return static_cast<int>(ErrorCode::Interrupted);
  print_sessions(*result, test, options.json);
  return 0;
}

int run(const BenchOptions& options) {
  if (options.sessions > 0) return run_sessions(options);
  ModelSource source = options.model.open(options.plan.most_header());
  const hardware::Profile machine = options.plan.profile(source.model);
  plan::Options wanted = options.plan.tuned_options(source.model, source.program, machine);
  const std::uint32_t needed = engine::context_needed(options.test);
  if (!wanted.context || *wanted.context < needed) wanted.context = needed;
  wanted.sequences = engine::most_sequences(options.test);
  wanted.outputs = wanted.sequences;
  const plan::Plan plan = plan::make_plan(source.model, source.program, machine, wanted, engine::backends());
  const StopOnInterrupt interrupt;
  auto engine = engine::Engine::load(std::move(source.model), std::move(source.program), plan, {}, interrupt.flag());
  if (engine == nullptr) return static_cast<int>(ErrorCode::Interrupted);
  std::vector<Limits> gpus;
  for (plan::DeviceIndex i = 1; i < plan.scratch.size(); ++i) {
    const backend::Peaks peaks = engine->measure(i);
    gpus.push_back({"VRAM", "float32", peaks.read_bandwidth, peaks.float_ops});
  }
  // In turn with what the model does: what others do on the machine, and how fast it is clocked, changes both alike.
  ProcessorLimits processor(plan.shape, engine->weights_in_ram());
  std::vector<Limits> all;
  std::vector<std::vector<Limits>> of_test;
  const auto rows = engine::benchmark(*engine, options.test, interrupt.flag(), [&](std::size_t test) {
    of_test.resize(test + 1);
    all.push_back(processor.measure());
    of_test.back().push_back(all.back());
  });
  const auto with_gpus = [&](const std::vector<Limits>& of_processor) {
    std::vector<Limits> limits{median_of(of_processor)};
    limits.insert(limits.end(), gpus.begin(), gpus.end());
    return limits;
  };
  std::vector<Result> results;
  for (std::size_t i = 0; i < rows.size(); ++i) results.push_back({rows[i], with_gpus(of_test[i])});
  options.json ? print_results(results, with_gpus(all), plan) : print_table(results);
  return interrupt.flag().load() ? static_cast<int>(ErrorCode::Interrupted) : 0;
}

}  // namespace

void add_bench(Program& program) {
  auto options = std::make_shared<BenchOptions>();
  Command& command =
      program.add_command("bench", "Measure prompt and generation speed (without -m: of the demo model)");
  engine::BenchmarkOptions& test = options->test;
  options->model.add_to(command);
  command.option("-p,--n-prompt", &test.prompt, "Tokens of the prompt test (0: none)",
                 {.most = 1 << 20, .show_default = true});
  command.option("-n,--n-gen", &test.generate, "Tokens of the generation test (0: none)",
                 {.most = 1 << 20, .show_default = true});
  command.option("-d,--n-depth", &test.depth, "Tokens in the context before each test",
                 {.most = 1 << 24, .show_default = true});
  command.option("-r,--repetitions", &test.repeats, "Counted runs of each test",
                 {.least = 1, .most = 1000, .show_default = true});
  command.option("-npl,--sequences", &test.sequences,
                 "Sequences that generate side by side; several numbers, such as 1,2,4,8, are a test each",
                 {.least = 1, .most = 256, .show_default = true, .separator = ','});
  command.option("--sessions", &options->sessions,
                 "Instead: so many sessions whose prompts begin alike, and one beside a long prompt", {.most = 256});
  command.option("--common", &options->beside.common, "Tokens that their prompts begin with",
                 {.least = 1, .most = 1 << 20, .show_default = true});
  command.option("--beside", &options->beside.prompt, "Tokens of the long prompt",
                 {.least = 1, .most = 1 << 20, .show_default = true});
  command.flag("--json", options->json, "Print the figures as JSON");
  options->plan.add_to(command);
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli
