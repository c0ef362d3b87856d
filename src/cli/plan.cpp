// `loadline plan`: where every byte of a run would lie and how fast it would be, before anything is loaded.
#include <fmt/format.h>

#include <cstdlib>
#include <memory>

#include "base/output_file.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/plan_options.h"
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
  PlanOptions plan;
  SpeculateOptions speculation;
};

int run(const PlanCommandOptions& options) {
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
  const bool terminal = stdout_is_terminal();
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
  command.option("-o,--out", &options->out, "Store the plan in a file, for `loadline run --plan`");
  command.flag("--json", options->json, "Print the plan as JSON");
  command.flag("--explain", options->explain, "Print the nearest alternatives and what they are predicted to reach");
  command.flag("-v,--verbose", options->verbose, "Print every region");
  options->plan.add_to(command);
  options->speculation.add_to(command);
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli
