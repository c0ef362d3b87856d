// `loadline plan`: where every byte of a run would lie and how fast it would be, before anything is loaded.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/output_file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/plan_options.h"
#include "cli/redraw.h"
#include "cli/speculate_options.h"
#include "cli/terminal.h"
#include "engine/backends.h"
#include "plan/explain.h"
#include "plan/json.h"
#include "plan/planner.h"
#include "plan/refusal.h"
#include "plan/render.h"
#include "plan/suggest.h"

namespace loadline::cli {
namespace {

struct PlanCommandOptions {
  ModelOptions model;
  std::string out;
  bool json = false;
  bool verbose = false;
  bool explain = false;
  bool watch = false;
  double period = 1;  // s
  PlanOptions plan;
  SpeculateOptions speculation;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// What would be if the model were loaded now, again and again as others take memory and give it back.
int watch_plan(const PlanCommandOptions& options) {
  const ModelSource source = options.model.open(options.plan.most_header());
  const StopOnInterrupt interrupt;
  Redraw screen;
  std::vector<std::string> history;  // the last changes
  std::string last;
  for (double next = steady_seconds();; next = std::max(next + options.period, steady_seconds())) {
    if (!wait_until(next, interrupt)) return 0;
    const hardware::Profile profile = options.plan.profile(source.model);
    plan::Options wanted = options.plan.tuned_options(source.model, source.program, profile);
    wanted.outputs = options.speculation.outputs();
    const plan::Attempt attempt = plan::try_plan(source.model, source.program, profile, wanted, engine::backends());
    const std::string time = fmt::format("{:%H:%M:%S}", fmt::localtime(std::time(nullptr)));
    std::vector<std::string> lines = {fmt::format("loadline plan · as things are at {} · Ctrl-C ends", time), ""};
    std::string now;
    if (attempt.fits) {
      const std::vector<std::string> notes = options.plan.notes(attempt.plan, source);
      for (std::string& line : lines_of(plan::plan_table(source.model, source.program, attempt.plan, notes,
                                                         attempt.assumed, {.bars = true, .colours = false}))) {
        lines.push_back(std::move(line));
      }
      now = fmt::format("{} · {:.3g} tok/s", plan::summary_line(attempt.plan, source.title),
                        attempt.plan.prediction.generation_rate);
    } else {
      const Error error =
          plan::refusal(source.model, source.program, profile, wanted, engine::backends(), attempt.plan);
      lines.emplace_back(error.what());
      for (std::string& line : lines_of(error.hint())) lines.push_back(std::move(line));
      now = "does not fit";
    }
    constexpr std::size_t kKeptChanges = 5;
    if (now != last) history.push_back(time + "  " + now);
    last = now;
    if (history.size() > kKeptChanges) history.erase(history.begin());
    if (history.size() > 1) {
      lines.emplace_back();
      lines.insert(lines.end(), history.begin(), history.end());
    }
    for (std::string& line : lines) line = cut_to_columns(printable(line, 4096), terminal_columns());
    screen.show(lines);
  }
}

int run(const PlanCommandOptions& options) {
  const bool terminal = stdout_is_terminal();
  if (options.watch && options.plan.is_stored()) {
    throw bad_input("--watch plans again and again, and --plan names a plan", "Leave out one of the two.");
  }
  if (options.watch && terminal && stderr_is_terminal()) return watch_plan(options);
  const ModelSource source = options.model.open(options.plan.most_header());
  std::optional<OutputFile> out;
  if (!options.out.empty()) out.emplace(options.out, options.plan.inputs(source.model));
  const std::optional<plan::Plan> stored = options.plan.stored_plan(source.model, source.program);
  const hardware::Profile profile = options.plan.profile(source.model);
  plan::Options wanted = options.plan.tuned_options(source.model, source.program, profile);
  wanted.outputs = options.speculation.outputs();
  const plan::Attempt attempt = stored
                                    ? plan::Attempt{true, *stored, {}}
                                    : plan::try_plan(source.model, source.program, profile, wanted, engine::backends());
  if (!attempt.fits)
    throw plan::refusal(source.model, source.program, profile, wanted, engine::backends(), attempt.plan);

  if (out) {
    out->write(plan::to_json(source.model, source.program, attempt.plan));
    out->finish();
  }
  if (options.json) {
    print_json(plan::to_json(source.model, source.program, attempt.plan));
    return 0;
  }
  const std::vector<std::string> notes = options.plan.notes(attempt.plan, source);
  const plan::RenderOptions look{terminal, terminal && std::getenv("NO_COLOR") == nullptr};
  print(plan::plan_table(source.model, source.program, attempt.plan, notes, attempt.assumed, look), look.colours);
  if (options.verbose) print("\nregions: tier, purpose, offset, bytes, name\n" + plan::region_lines(attempt.plan));
  if (stored) return 0;  // what it was made with is not known
  const auto faster =
      plan::suggest_faster(source.model, source.program, profile, wanted, engine::backends(), attempt.plan);
  if (options.explain) {
    const auto nearest =
        plan::nearest_alternatives(source.model, source.program, profile, wanted, engine::backends(), attempt.plan);
    print("\nwhy this: the nearest alternatives, as predicted\n" + plan::explanation_lines(attempt.plan, nearest));
  }
  if (!faster.empty()) print("\nfaster alternatives\n" + plan::suggestion_lines(faster));
  return 0;
}

}  // namespace

void add_plan(Program& program) {
  auto options = std::make_shared<PlanCommandOptions>();
  Command& command = program.add_command("plan", "Show where every byte would go, and how fast it would run");
  options->model.add_to(command, "model");
  const Option& out = command.option("-o,--out", &options->out, "Store the plan in a file, for `loadline run --plan`");
  const Option& json = command.flag("--json", options->json, "Print the plan as JSON");
  const Option& explain = command.flag("--explain", options->explain,
                                       "Print the nearest alternatives and what they are predicted to reach");
  const Option& verbose = command.flag("-v,--verbose", options->verbose, "Print every region");
  Option& watched = command.flag("--watch", options->watch,
                                 "Show it again every second, as others take memory and give it back (once, where "
                                 "standard output is no terminal)");
  command.option("--interval", &options->period, "Seconds from one look to the next", {.show_default = true});
  for (const Option* other : {&out, &json, &explain, &verbose}) watched.excludes(*other);
  options->plan.add_to(command);
  options->speculation.add_to(command);
  command.set_action([options] {
    if (!(options->period >= 0.1 && options->period <= 3600)) {
      throw bad_input("--interval is at least 0.1 seconds, and at most 3600");
    }
    return run(*options);
  });
}

}  // namespace loadline::cli
