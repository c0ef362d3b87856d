// `loadline plan`: where every byte of a run would lie and how fast it would be, before anything is loaded.
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <memory>

#include "base/error.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/plan_options.h"
#include "cli/speculate_options.h"
#include "cli/terminal.h"
#include "plan/json.h"
#include "plan/planner.h"
#include "plan/refusal.h"
#include "plan/render.h"
#include "plan/suggest.h"

namespace loadline::cli {
namespace {

struct Options {
  std::string model;
  std::string out;
  bool json = false;
  bool verbose = false;
  PlanOptions plan;
  SpeculateOptions speculation;
};

// Beside the target and renamed, so that a failure leaves no half file.
void write_file(const std::string& path, const std::string& text) {
  const std::string partial = path + ".part";
  std::ofstream file(partial, std::ios::binary);
  file << text;
  file.close();
  std::error_code problem;
  if (file) std::filesystem::rename(partial, path, problem);
  if (!file || problem) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    throw bad_input(fmt::format("{}: cannot be written", path));
  }
}

int run(const Options& options) {
  const ModelSource source = open_source(options.model);
  const std::optional<plan::Plan> stored = options.plan.stored_plan(source.model, source.program);
  const hardware::Profile profile = options.plan.profile(source.model);
  plan::Options wanted = options.plan.options();
  wanted.outputs = options.speculation.outputs();
  const plan::Attempt attempt =
      stored ? plan::Attempt{true, *stored, {}} : plan::try_plan(source.model, source.program, profile, wanted);
  if (!attempt.fits) throw plan::refusal(source.model, source.program, profile, wanted, attempt.plan);

  if (!options.out.empty()) write_file(options.out, plan::to_json(source.model, source.program, attempt.plan));
  if (options.json) {
    fmt::print("{}", plan::to_json(source.model, source.program, attempt.plan));
    return 0;
  }
  const std::vector<std::string> notes = options.plan.notes(attempt.plan);
  const bool terminal = stdout_is_terminal();
  const plan::RenderOptions look{terminal, terminal && std::getenv("NO_COLOR") == nullptr};
  fmt::print("{}", plan::plan_table(source.model, source.program, attempt.plan, notes, attempt.assumed, look));
  if (options.verbose)
    fmt::print("\nregions: tier, purpose, offset, bytes, name\n{}", plan::region_lines(attempt.plan));
  if (stored) return 0;  // what it was made with is not known
  const auto faster = plan::suggest_faster(source.model, source.program, profile, wanted, attempt.plan);
  if (!faster.empty()) fmt::print("\nfaster alternatives\n{}", plan::suggestion_lines(faster));
  return 0;
}

}  // namespace

void add_plan(Program& program) {
  auto options = std::make_shared<Options>();
  Command& command = program.add_command("plan", "Show where every byte would go, and how fast it would run");
  command.option("model,-m,--model", &options->model, "GGUF file, or the first file of a split model");
  command.option("-o,--out", &options->out, "Store the plan in a file, for `loadline run --plan`");
  command.flag("--json", options->json, "Print the plan as JSON");
  command.flag("-v,--verbose", options->verbose, "Print every region");
  options->plan.add_to(command);
  options->speculation.add_to(command);
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli
