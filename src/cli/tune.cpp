// `loadline tune`: finds the fastest setting by measuring real passes, and remembers it for this machine and model.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>

#include "base/error.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/plan_options.h"
#include "cli/terminal.h"
#include "engine/backends.h"
#include "engine/benchmark.h"
#include "plan/fingerprint.h"
#include "plan/planner.h"
#include "plan/render.h"
#include "watch/tuned.h"

namespace loadline::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct TuneOptions {
  ModelOptions model;
  std::uint32_t seconds = 120;
  bool json = false;
  PlanOptions plan;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string rate(double value) { return fmt::format("{:.{}f}", value, value < 10 ? 2 : value < 100 ? 1 : 0); }

std::string words_of(const watch::Setting& setting) {
  std::string text;
  if (setting.gpu_layers) text = fmt::format("-ngl {}, ", *setting.gpu_layers);
  return text + fmt::format("-t {}, -b {}", setting.threads, setting.batch);
}

// Layers that run on GPUs by a plan, the output counting as one.
std::uint32_t layers_on_gpus(const model::Program& program, const plan::Plan& plan) {
  std::uint32_t count = 0;
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const model::GroupKind kind = program.groups[g].kind;
    const bool counts = kind == model::GroupKind::Attention || kind == model::GroupKind::Output;
    if (counts && plan.groups[g].device != plan::kCpu) ++count;
  }
  return count;
}

// Loads the model anew for each setting, within the budget.
class Bench {
 public:
  Bench(const TuneOptions& options, const ModelSource& source, const hardware::Profile& machine)
      : options_(options), source_(source), machine_(machine) {}

  [[nodiscard]] plan::Attempt plan_for(const watch::Setting* setting) const {
    plan::Options wanted = options_.plan.options();
    if (setting != nullptr) {
      wanted.threads = setting->threads;
      wanted.batch = setting->batch;
      wanted.batch_named = true;
      if (setting->gpu_layers) wanted.gpu_layers = {plan::GpuLayers::Kind::Count, *setting->gpu_layers};
    }
    return plan::try_plan(source_.model, source_.program, machine_, wanted, engine::backends());
  }

  std::optional<watch::Measured> measure(const watch::Setting& setting, const std::atomic<bool>& stop) const {
    plan::Attempt attempt;
    try {
      attempt = plan_for(&setting);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::BadInput) return std::nullopt;  // more than the plan knows how to place
      throw;
    }
    if (!attempt.fits) return std::nullopt;
    // About so long for each of the two runs that a test has.
    constexpr double kSeconds = 1.5;
    const plan::Prediction& expected = attempt.plan.prediction;
    const auto tokens = [](double wanted, std::uint32_t least, std::uint32_t most) {
      return static_cast<std::uint32_t>(std::clamp(wanted, static_cast<double>(least), static_cast<double>(most)));
    };
    engine::BenchmarkOptions test;
    const std::uint32_t room = attempt.plan.shape.context / attempt.plan.shape.sequences;
    test.prompt = std::min(room / 2, tokens(expected.prompt_rate * kSeconds, 16, 1024));
    test.generate = std::min(room / 4, tokens(expected.generation_rate * kSeconds, 4, 64));
    test.repeats = 2;
    // The files are opened again: an engine owns what it loads.
    ModelSource source = options_.model.open(options_.plan.most_header());
    engine::Engine::Options of_engine;
    of_engine.of_caller = 32 * kMiB;  // the model's headers once more, and what was measured
    const auto engine = engine::Engine::load(std::move(source.model), std::move(source.program),
                                             std::move(attempt.plan), {}, stop, std::move(of_engine));
    if (engine == nullptr) return std::nullopt;
    const auto rows = engine::benchmark(*engine, test, stop);
    if (rows.size() < 2) return std::nullopt;
    // What disturbs a run makes it slower.
    return watch::Measured{std::ranges::max(rows[1].rates), std::ranges::max(rows[0].rates)};
  }

 private:
  const TuneOptions& options_;
  const ModelSource& source_;
  const hardware::Profile& machine_;
};

void print_trial(const watch::Trial& trial) {
  if (!trial.measured) {
    print(fmt::format("  {:<36} {:>9}\n", trial.what, "no room"));
    return;
  }
  print(fmt::format("  {:<36} {:>9} {:>9}{}\n", trial.what, rate(trial.measured->generation),
                    rate(trial.measured->prompt), trial.best ? "   *" : ""));
}

void print_attempts(const watch::TuneResult& result, double seconds) {
  nlohmann::ordered_json trials = nlohmann::ordered_json::array();
  const auto json_of = [](const watch::Setting& setting) {
    nlohmann::ordered_json told = {{"threads", setting.threads}, {"batch", setting.batch}};
    if (setting.gpu_layers) told["gpu_layers"] = *setting.gpu_layers;
    return told;
  };
  for (const watch::Trial& trial : result.trials) {
    nlohmann::ordered_json one = json_of(trial.setting);
    one["what"] = trial.what;
    one["fits"] = trial.measured.has_value();
    if (trial.measured) one["generation"] = trial.measured->generation;
    if (trial.measured) one["prompt"] = trial.measured->prompt;
    trials.push_back(std::move(one));
  }
  nlohmann::ordered_json all = {{"best", json_of(result.setting)},
                                {"generation", result.measured.generation},
                                {"prompt", result.measured.prompt},
                                {"finished", result.finished},
                                {"seconds", seconds},
                                {"trials", std::move(trials)}};
  print_json(all.dump(2) + "\n");
}

int run(const TuneOptions& options) {
  const ModelSource source = options.model.open(options.plan.most_header());
  const hardware::Profile machine = options.plan.profile(source.model);
  const Bench bench(options, source, machine);
  const plan::Attempt planned = bench.plan_for(nullptr);
  if (!planned.fits) (void)options.plan.make_plan(source.model, source.program);  // which says what does not fit
  const plan::Plan& plan = planned.plan;
  const watch::Setting setting{std::nullopt, plan.shape.threads, plan.shape.batch};
  watch::TuneSpace space;
  space.planned_layers = layers_on_gpus(source.program, plan);
  space.most_layers = machine.gpus.empty() ? 0 : source.program.config.layers + 1;
  space.most_threads = std::max(machine.cpu.cores, setting.threads);
  space.most_batch = std::min<std::uint32_t>(2048, plan.shape.context / plan.shape.sequences);
  space.least_batch = std::max<std::uint32_t>(32, plan.shape.sequences);

  const StopOnInterrupt interrupt;
  const auto start = Clock::now();
  say(plan::summary_line(plan, source.title));
  if (!options.json) print(fmt::format("  {:<36} {:>9} {:>9}\n", "tried", "tok/s", "prompt"));
  double longest = 0;  // of a trial: none is begun that would end after the time
  const watch::TuneResult result = watch::tune(
      setting, space,
      [&](const watch::Setting& tried) {
        const auto begun = Clock::now();
        const auto measured = bench.measure(tried, interrupt.flag());
        longest = std::max(longest, seconds_since(begun));
        return measured;
      },
      [&] { return interrupt.flag().load() || seconds_since(start) + longest > options.seconds; },
      [&](const watch::Trial& trial) {
        if (!options.json) print_trial(trial);
      });
  const double seconds = seconds_since(start);
  if (result.trials.empty() || !result.trials.front().measured) {
    say("stopped before anything was measured");
    return static_cast<int>(ErrorCode::Interrupted);
  }
  watch::remember_tuned(
      watch::tuned_path(), machine, plan.model_fingerprint,
      {result.setting, result.measured, fmt::format("{:%Y-%m-%d}", fmt::localtime(std::time(nullptr)))});
  if (options.json) {
    print_attempts(result, seconds);
    return 0;
  }
  const double better = result.measured.generation / result.trials.front().measured->generation - 1;
  print(fmt::format("best: {}: {} tok/s ({}) · {} settings in {:.0f} s{} · remembered for this machine and model\n",
                    words_of(result.setting), rate(result.measured.generation),
                    better >= 0.005 ? fmt::format("{:.0f} % better than planned", 100 * better) : "as planned",
                    result.trials.size(), seconds, result.finished ? "" : ", then time was up"));
  return interrupt.flag().load() ? static_cast<int>(ErrorCode::Interrupted) : 0;
}

}  // namespace

void add_tune(Program& program) {
  auto options = std::make_shared<TuneOptions>();
  Command& command = program.add_command("tune", "Find the fastest setting by measuring, and remember it");
  options->model.add_to(command, "model");
  command.option("--seconds", &options->seconds, "Stop looking after so long",
                 {.least = 1, .most = 86400, .show_default = true});
  command.flag("--json", options->json, "Print what was tried as JSON");
  options->plan.add_to(command);
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli
