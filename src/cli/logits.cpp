// `loadline logits`: the raw logits of one causal pass, for comparing implementations.
#include <fmt/format.h>

#include <charconv>

#include "backend/reference/reference.h"
#include "base/error.h"
#include "base/output_file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/plan_options.h"
#include "cli/terminal.h"
#include "engine/backends.h"
#include "engine/engine.h"
#include "hardware/probe.h"
#include "plan/planner.h"

namespace loadline::cli {
namespace {

struct LogitsOptions {
  ModelOptions model;
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
      throw bad_input(fmt::format("--tokens: \"{}\" is not a token id", printable(item)),
                      "Write ids with commas: 1,15043,3186.");
    }
    ids.push_back(id);
    if (comma == std::string_view::npos) return ids;
    text.remove_prefix(comma + 1);
  }
}

// Collects the logits behind every token of its prompt.
class Collector final : public exec::SessionClient {
 public:
  std::int32_t draw(std::span<const float> /*logits*/) override { return 0; }
  bool take(std::int32_t /*token*/) override { return false; }
  void prompt_row(std::size_t /*index*/, std::span<const float> logits) override {
    values_.insert(values_.end(), logits.begin(), logits.end());
  }
  void ended(const exec::SessionResult& result) noexcept override { result_ = result; }

  // Empty where it was stopped.
  std::vector<float> take_values() {
    if (result_.error) std::rethrow_exception(result_.error);
    if (result_.ending == exec::Ending::Stopped) values_.clear();
    return std::move(values_);
  }

 private:
  std::vector<float> values_;
  exec::SessionResult result_;
};

int run(const LogitsOptions& options) {
  const std::vector<std::int32_t> ids = parse_ids(options.tokens);
  ModelSource source = options.model.open(options.plan.most_header());
  const StopOnInterrupt interrupt;
  OutputFile out(options.out, options.plan.inputs(source.model));
  std::vector<float> values;
  ProgressBar bar("computing");
  if (options.reference) {
    struct Stopped {};
    try {
      values = reference::logits(source.model, source.program, ids, [&](double done) {
        if (interrupt.flag()) throw Stopped();
        bar.update(done, "");
      });
    } catch (const Stopped&) {  // values stays empty
    }
  } else {
    plan::Options wanted = options.plan.options();
    if (!wanted.context) wanted.context = static_cast<std::uint32_t>(ids.size());
    wanted.outputs = std::min<std::uint32_t>(wanted.batch, static_cast<std::uint32_t>(ids.size()));
    const plan::Plan plan =
        plan::make_plan(source.model, source.program, options.plan.profile(source.model), wanted, engine::backends());
    engine::Engine::Options loading;
    // What this command is for: no plan knows of it.
    const std::uint64_t collected = ids.size() * source.program.config.vocabulary * sizeof(float);
    loading.of_caller = Bytes(3 * collected);  // while the last doubling copies them
    const auto engine = engine::Engine::load(std::move(source.model), std::move(source.program), plan, {},
                                             interrupt.flag(), std::move(loading));
    if (engine != nullptr) {
      Collector collector;
      exec::SessionOptions session;
      session.prompt = ids;
      session.most_tokens = 0;
      session.prompt_rows = true;
      engine->scheduler().join(session, collector);
      engine->run(interrupt.flag());
      values = collector.take_values();
    }
  }
  if (values.empty()) return static_cast<int>(ErrorCode::Interrupted);  // while it loaded or computed
  out.write(std::as_bytes(std::span(values)));
  out.finish();
  return 0;
}

}  // namespace

void add_logits(Program& program) {
  auto options = std::make_shared<LogitsOptions>();
  Command& command = program.add_command("logits", "Write the logits of a list of tokens to a file");
  options->model.add_to(command, "model", true);
  command.option("--tokens", &options->tokens, "Token ids, separated by commas", {.required = true});
  command.option("-o,--out", &options->out, "Output: float32 [token][vocabulary], little endian", {.required = true});
  command.flag("--backend-reference", options->reference,
               "Compute with the scalar oracle: weights decoded to float32, float32 arithmetic (slow)");
  options->plan.add_to(command);
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli
