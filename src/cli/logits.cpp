// `loadline logits`: the raw logits of one causal pass, for comparing implementations.
#include <fmt/format.h>

#include <charconv>
#include <fstream>

#include "backend/reference/reference.h"
#include "base/error.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/plan_options.h"
#include "cli/terminal.h"
#include "engine/engine.h"
#include "hardware/probe.h"
#include "plan/planner.h"

namespace loadline::cli {
namespace {

struct Options {
  std::string model;
  std::string tokens;
  std::string out;
  bool reference = false;
  PlanOptions plan;
};

std::vector<std::int32_t> parse_ids(std::string_view text) {
  std::vector<std::int32_t> ids;
  while (true) {
    const std::size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    std::int32_t id = 0;
    const auto [end, problem] = std::from_chars(item.data(), item.data() + item.size(), id);
    if (problem != std::errc() || end != item.data() + item.size()) {
      throw bad_input(fmt::format("--tokens: \"{}\" is not a token id", item), "Write ids with commas: 1,15043,3186.");
    }
    ids.push_back(id);
    if (comma == std::string_view::npos) return ids;
    text.remove_prefix(comma + 1);
  }
}

// Written beside the target and renamed, so that a failure leaves no half file.
void write_floats(const std::string& path, const std::vector<float>& values) {
  const std::string partial = path + ".part";
  std::ofstream file(partial, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  file.close();
  std::error_code problem;
  if (file) std::filesystem::rename(partial, path, problem);
  if (!file || problem) {
    std::filesystem::remove(partial, problem);
    throw bad_input(fmt::format("{}: cannot be written", path));
  }
}

int run(const Options& options) {
  const std::vector<std::int32_t> ids = parse_ids(options.tokens);
  ModelSource source = open_source(options.model);
  std::vector<float> values;
  const StopOnInterrupt interrupt;
  ProgressBar bar("computing");
  if (options.reference) {
    values = reference::logits(source.model, source.program, ids, [&](double done) { bar.update(done, ""); });
  } else {
    plan::Options wanted = options.plan.options();
    if (!wanted.context) wanted.context = static_cast<std::uint32_t>(ids.size());
    wanted.outputs = std::min<std::uint32_t>(wanted.batch, static_cast<std::uint32_t>(ids.size()));
    const plan::Plan plan = plan::make_plan(source.model, source.program, options.plan.profile(source.model), wanted);
    const auto engine =
        engine::Engine::load(std::move(source.model), std::move(source.program), plan, {}, interrupt.flag());
    const bool done =
        engine != nullptr &&
        engine->score(
            ids, 0, [&](std::span<const float> row) { values.insert(values.end(), row.begin(), row.end()); },
            interrupt.flag());
    if (!done) return static_cast<int>(ErrorCode::Interrupted);
  }
  write_floats(options.out, values);
  return 0;
}

}  // namespace

void add_logits(Program& program) {
  auto options = std::make_shared<Options>();
  Command& command = program.add_command("logits", "Write the logits of a list of tokens to a file");
  command.option("model,-m,--model", &options->model, "GGUF file", {.required = true});
  command.option("--tokens", &options->tokens, "Token ids, separated by commas", {.required = true});
  command.option("-o,--out", &options->out, "Output: float32 [token][vocabulary], little endian", {.required = true});
  command.flag("--backend-reference", options->reference,
               "Compute with the scalar oracle: weights decoded to float32, float32 arithmetic (slow)");
  options->plan.add_to(command);
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli
