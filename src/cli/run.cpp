// `loadline run`: text in, text out, as it comes.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/grammar_options.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/plan_options.h"
#include "cli/pressure.h"
#include "cli/prompt.h"
#include "cli/sample_options.h"
#include "cli/speculate_options.h"
#include "cli/terminal.h"
#include "engine/engine.h"
#include "hardware/measurements.h"
#include "hardware/probe.h"
#include "hardware/system_files.h"
#include "plan/planner.h"
#include "plan/predict.h"
#include "plan/refusal.h"
#include "plan/render.h"
#include "sample/sampler.h"
#include "tokenizer/tokenizer.h"

namespace loadline::cli {
namespace {

constexpr std::string_view kDemoPrompt = "Once upon a time";
constexpr Bytes kMostPrompt{std::uint64_t{64} << 20};

struct RunOptions {
  ModelOptions model;
  std::string prompt;
  std::string file;
  bool escape = true;
  std::int64_t predict = -1;
  bool quiet = false;
  bool json = false;
  bool special = false;
  bool ignore_eos = false;
  bool hide_prompt = false;
  std::string on_pressure = "continue";
  PlanOptions plan;
  SpeculateOptions speculation;
  SampleOptions sampling;
  GrammarOptions grammar;
};

std::string read_prompt(const RunOptions& options, bool prompt_given, bool demo) {
  if (prompt_given) return options.escape ? with_escapes(options.prompt) : options.prompt;
  if (!options.file.empty() && options.file != "-") return file_text(read_text_file(options.file, kMostPrompt));
  if (options.file == "-" || input_is_piped()) {
    std::string text = file_text(read_standard_input(kMostPrompt));
    if (!text.empty() || options.file == "-") return text;
  }
  if (demo) return std::string(kDemoPrompt);
  throw bad_input("there is no prompt", "Give one with -p TEXT or -f FILE, or pipe it in.");
}

// Writes to standard output at once.
class Output {
 public:
  // `collect`: keep the text instead.
  explicit Output(bool collect) : collect_(collect) {}
  void write(std::string_view text) {
    if (collect_) {
      text_ += text;
      return;
    }
    print_text(text);
    if (!text.empty()) ends_line_ = text.back() == '\n';
  }
  void end_line() {
    if (!ends_line_ && !collect_) write("\n");
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  bool collect_;
  std::string text_;
  bool ends_line_ = true;
};

std::string rate(std::size_t tokens, double seconds) {
  if (tokens == 0 || seconds <= 0) return "-";
  const double per_second = static_cast<double>(tokens) / seconds;
  return fmt::format("{:.{}f} tok/s", per_second, per_second < 10 ? 2 : per_second < 100 ? 1 : 0);
}

struct Figures : exec::SessionResult {
  Bytes streamed;  // weights read from disk meanwhile, what was read ahead included
};

// How many passes guessing left; empty where nothing was guessed.
std::string pass_figures(const Figures& figures) {
  if (figures.drafted_tokens == 0) return {};
  return fmt::format(" in {} passes ({} of {} guessed tokens right)", figures.passes, figures.accepted_tokens,
                     figures.drafted_tokens);
}

void print_figures(const Figures& figures, double load_seconds, double predicted) {
  if (figures.ending == exec::Ending::Stopped) say(fmt::format("stopped after {} tokens", figures.generated_tokens));
  if (figures.ending == exec::Ending::ContextFull) say("the context is full; -c gives more");
  // The first token comes with the prompt's pass.
  const std::size_t after_first = figures.generated_tokens > 0 ? figures.generated_tokens - 1 : 0;
  const std::string disk =
      figures.streamed.value > 0 ? fmt::format(" · read {} from disk", to_string(figures.streamed)) : std::string();
  say(fmt::format("prompt {} tokens, {} · generated {} tokens{}, {} (predicted {}){} · loaded in {:.2f} s",
                  figures.prompt_tokens, rate(figures.prompt_tokens, figures.prompt_seconds), figures.generated_tokens,
                  pass_figures(figures), rate(after_first, figures.generation_seconds),
                  rate(1, predicted > 0 ? 1 / predicted : 0), disk, load_seconds));
}

void print_run(const std::string& text, const Figures& figures, double load_seconds, const plan::Plan& plan,
               const Pressure& pressure) {
  nlohmann::ordered_json result;
  result["text"] = text;
  result["prompt"] = {{"tokens", figures.prompt_tokens}, {"seconds", figures.prompt_seconds}};
  result["generation"] = {{"tokens", figures.generated_tokens},
                          {"seconds", figures.generation_seconds},
                          {"passes", figures.passes},
                          {"drafted", figures.drafted_tokens},
                          {"accepted", figures.accepted_tokens}};
  result["predicted"] = {{"prompt", plan.prediction.prompt_rate}, {"generation", plan.prediction.generation_rate}};
  result["load_seconds"] = load_seconds;
  result["streamed_bytes"] = figures.streamed.value;
  result["watch"] = nlohmann::ordered_json::parse(pressure.watch_json());
  result["changes"] = nlohmann::ordered_json::array();
  for (const Pressure::Change& change : pressure.changes()) {
    result["changes"].push_back({{"why", change.why},
                                 {"weights", change.predicted.weights.value},
                                 {"kept", change.predicted.kept.value},
                                 {"kept_caches", change.predicted.caches.value},
                                 {"from_disk", change.predicted.from_disk.value},
                                 {"tokens", change.predicted.tokens},
                                 {"kept_tokens", change.predicted.kept_tokens},
                                 {"predicted_seconds", change.predicted.seconds},
                                 {"predicted_range", {change.predicted.least, change.predicted.most}},
                                 {"seconds", change.seconds}});
  }
  print_json(result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

// Where there is a GPU: what each device holds, and how much of the time it was the one at work.
void print_devices(engine::Engine& engine) {
  const plan::Plan& plan = engine.plan();
  double all = 0;
  for (plan::DeviceIndex i = 0; i < plan.scratch.size(); ++i) all += engine.executor().busy_seconds(i);
  std::string line;
  for (plan::DeviceIndex i = 0; i < plan.scratch.size(); ++i) {
    const Bytes held = plan::tier_total(plan, i);
    if (held.value == 0) continue;
    const std::string name = i == plan::kCpu ? "CPU" : fmt::format("GPU {} ({})", i - 1, printable(plan.tiers[i].name));
    line += fmt::format("{}{} holds {}, busy {:.0f} %", line.empty() ? "" : " · ", name, to_string(held),
                        all > 0 ? 100 * engine.executor().busy_seconds(i) / all : 0);
  }
  if (plan.stages.size() > 1 || plan.stages.front().device != plan::kCpu) say(line);
}

// What the disk gave a run that it bounds, for the next plan: disks that others use too vary from hour to hour.
void remember_disk(const engine::Engine& engine, const Figures& figures) {
  const auto rate = plan::observed_disk_bandwidth(engine.plan(), figures.passes, figures.generation_seconds);
  if (!rate) return;
  const std::filesystem::path file = hardware::measurements_path();
  hardware::Profile profile = hardware::probe(engine.model().files.front().path());
  hardware::recall(profile, file);
  profile.disk.read_bandwidth = *rate;
  try {
    hardware::remember(profile, file);
  } catch (const Error&) {  // nowhere to remember it, which takes nothing from this run
  }
}

// Bytes that this process has had read from disks so far; 0 where the system does not say.
std::uint64_t read_from_disk() {
  return hardware::find_number(hardware::read_system_file("/proc/self/io"), "read_bytes").value_or(0);
}

// A load that came from the disk, and faster than the disk was known to be, says what it can do.
void remember_load(const engine::Engine& engine, hardware::Profile machine, double seconds, std::uint64_t read) {
  constexpr std::uint64_t kLeast = std::uint64_t{1} << 30;  // less is not past a disk's own caches
  constexpr double kFaster = 1.1;
  Bytes loaded;
  for (const plan::Region& region : engine.plan().regions) {
    if (region.purpose == plan::Purpose::Weights) loaded += region.size;
  }
  if (read < kLeast || read < loaded.value / 10 * 9 || seconds <= 0) return;
  const double rate = static_cast<double>(read) / seconds;
  if (machine.disk.read_bandwidth <= 0 || rate < kFaster * machine.disk.read_bandwidth) return;
  machine.disk.read_bandwidth = rate;
  try {
    hardware::remember(machine, hardware::measurements_path());
  } catch (const Error&) {  // nowhere to remember it, which takes nothing from this run
  }
}

std::unique_ptr<engine::Engine> load(ModelSource source, plan::Plan plan, Bytes of_prompt, bool outlive_devices,
                                     const std::atomic<bool>& stop) {
  ProgressBar bar("loading");
  engine::Engine::Options options;
  options.of_caller = of_prompt;
  options.scheduler.outlive_devices = outlive_devices;
  return engine::Engine::load(
      std::move(source.model), std::move(source.program), std::move(plan),
      [&](Bytes done, Bytes total) {
        bar.update(static_cast<double>(done.value) / static_cast<double>(total.value),
                   fmt::format("{} of {}", to_string(done), to_string(total)));
      },
      stop, std::move(options));
}

// The one session of a run: draws with the sampler and writes what it draws.
class Writer final : public exec::SessionClient {
 public:
  Writer(const RunOptions& options, const tokenizer::Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
         sample::Sampler& sampler, Constraint* constraint, Output& output)
      : options_(options),
        tokenizer_(tokenizer),
        sampler_(sampler),
        constraint_(constraint),
        output_(output),
        decoder_(tokenizer, options.special) {
    for (const std::int32_t token : prompt) {
      // The prompt's last bytes decide how the first word continues; feeding it keeps the decoder's leading-space rule
      // right.
      (void)decoder_.push(token);
      sampler_.accept(token);
    }
  }

  std::int32_t draw(std::span<const float> logits) override {
    if (constraint_ == nullptr) {
      const std::int32_t token = sampler_.sample(logits);
      sampler_.accept(token);
      return token;
    }
    grammar::Session& session = constraint_->session();
    const std::int32_t token = sampler_.sample(logits, session.mask());
    sampler_.accept(token);
    session.accept(token);
    return token;
  }
  bool is_end(std::int32_t token) override { return !options_.ignore_eos && tokenizer_.is_end_of_generation(token); }
  bool take(std::int32_t token) override {
    output_.write(decoder_.push(token));
    // Nothing but an end could follow a text that the grammar has no more to say of.
    return constraint_ == nullptr || !(constraint_->session().has_ended() || constraint_->session().must_end());
  }
  void prompt_read(std::size_t done, std::size_t all) override {
    bar_->update(static_cast<double>(done) / static_cast<double>(all), fmt::format("{} of {} tokens", done, all));
    if (done == all) bar_.reset();
  }
  void ended(const exec::SessionResult& result) noexcept override { result_ = result; }

  // What became of it; what was thrown meanwhile is thrown again.
  exec::SessionResult finish() {
    bar_.reset();
    if (result_.error) std::rethrow_exception(result_.error);
    output_.write(decoder_.finish());
    output_.end_line();
    return result_;
  }

 private:
  const RunOptions& options_;
  const tokenizer::Tokenizer& tokenizer_;
  sample::Sampler& sampler_;
  Constraint* constraint_;  // null: anything may be written
  Output& output_;
  tokenizer::StreamDecoder decoder_;
  std::optional<ProgressBar> bar_{"reading the prompt"};
  exec::SessionResult result_;
};

int run(const RunOptions& options, bool prompt_given) {
  const std::string prompt = read_prompt(options, prompt_given, options.model.demo());
  require_utf8(prompt);
  ModelSource source = options.model.open(options.plan.most_header());
  const auto tokenizer = tokenizer::Tokenizer::from_metadata(source.model.metadata);
  const std::vector<std::int32_t> tokens =
      tokenizer->encode(prompt, {.add_special = true, .parse_special = options.special, .goes_on = true});
  if (tokens.empty()) throw bad_input("the prompt is empty", "Give some text with -p TEXT, -f FILE or standard input.");
  std::vector<std::string> sampling_notes;
  sample::Sampler sampler(options.sampling.options(source.model.metadata, *tokenizer, sampling_notes),
                          source.program.config.vocabulary);
  const std::unique_ptr<Constraint> constraint = options.grammar.constraint(*tokenizer);

  Pressure::Options pressed;
  pressed.on_pressure = on_pressure_of(options.on_pressure);
  pressed.quiet = options.quiet;
  if (pressed.on_pressure == serve::OnPressure::Shrink && options.plan.is_stored()) {
    throw bad_input("--plan says where everything lies, and --on-pressure shrink would change it",
                    "Leave out one of the two.");
  }
  hardware::Profile& machine = pressed.machine;
  const plan::Plan plan = options.plan.make_plan(source.model, source.program, options.speculation.outputs(), &machine);
  std::optional<speculate::NgramDrafter> drafter;
  if (const auto speculation = options.speculation.options()) {
    if (plan.shape.outputs < 2) {
      throw bad_input("the plan has no room to verify guesses: it was made for one row of logits",
                      "Make it with the same --speculate and --draft-max.");
    }
    drafter.emplace(*speculation, plan.shape.context + 1);
  }
  if (tokens.size() > plan.shape.context) {
    throw bad_input(
        fmt::format("the prompt has {} tokens, but the context holds {}", tokens.size(), plan.shape.context),
        fmt::format("Give more context with -c {}, or a shorter prompt.", tokens.size() + 256));
  }
  if (!options.plan.is_stored()) pressed.plan = options.plan.tuned_options(source.model, source.program, machine);
  const StopOnInterrupt interrupt;
  if (!options.quiet) {
    for (const std::string& remark : tokenizer->remarks()) say(remark);
    say(plan::summary_line(plan, source.title));
    for (const std::string& note : options.plan.notes(plan, source)) say(note);
    for (const std::string& note : sampling_notes) say(note);
  }

  const auto start = std::chrono::steady_clock::now();
  Bytes of_prompt(4 * prompt.size() + 16 * tokens.size());
  if (constraint) of_prompt += constraint->memory();
  const std::uint64_t read_before = read_from_disk();
  const bool may_shrink = pressed.on_pressure == serve::OnPressure::Shrink;
  const auto engine = load(std::move(source), plan, of_prompt, may_shrink, interrupt.flag());
  const double load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (engine == nullptr) {
    if (!options.quiet) say(fmt::format("stopped after {:.2f} s of loading", load_seconds));
    return static_cast<int>(ErrorCode::Interrupted);
  }
  remember_load(*engine, machine, load_seconds, read_from_disk() - read_before);
  if (!options.quiet) {
    for (const std::string& remark : engine->remarks()) say(printable(remark, 200));
  }
  if (const std::string why = plan::why_not_verified(plan); !why.empty() && !options.quiet) {
    say(why);
  }

  Output output(options.json);
  if (!options.hide_prompt) output.write(prompt);
  Writer writer(options, *tokenizer, tokens, sampler, constraint.get(), output);
  exec::SessionOptions session;
  session.prompt = tokens;
  session.most_tokens = options.predict;
  if (drafter) session.drafter = &*drafter;
  Pressure pressure(*engine, std::move(pressed));
  engine->scheduler().join(session, writer);
  pressure.run(interrupt.flag());
  const Figures figures{writer.finish(), pressure.streamed()};
  if (options.json) print_run(output.text(), figures, load_seconds, engine->plan(), pressure);
  if (!options.quiet) {
    print_figures(figures, load_seconds, engine->plan().prediction.generation_rate);
    if (engine->is_loaded()) print_devices(*engine);
    if (const std::string lost = pressure.lost(); !lost.empty()) say(lost);
  }
  if (pressure.changes().empty()) remember_disk(*engine, figures);
  if (pressure.stopped()) return static_cast<int>(ErrorCode::DoesNotFit);
  return figures.ending == exec::Ending::Stopped ? static_cast<int>(ErrorCode::Interrupted) : 0;
}

}  // namespace

void add_run(Program& program) {
  auto options = std::make_shared<RunOptions>();
  Command& command = program.add_command("run", "Continue a text with a model (without -m: the demo model)");
  options->model.add_to(command);
  const Option& prompt =
      command.option("-p,--prompt", &options->prompt, "The text to continue", {.may_be_empty = true});
  command.flag("-e,--escape", options->escape, "Read \\n, \\t and the like in -p as what they stand for (the default)");
  command.flag("--no-escape", options->escape, "Take the text of -p as it is", {}, false);
  command.option("-f,--file", &options->file, "Read the text from a file (- for standard input)").excludes(prompt);
  command.option("-n,--predict,--n-predict", &options->predict,
                 "Most tokens to generate (-1: until the model ends or the context is full)",
                 {.least = -1, .most = std::int64_t{1} << 31, .show_default = true});
  command.flag("--ignore-eos", options->ignore_eos, "Go on after an end-of-text token");
  command.flag("-sp,--special", options->special, "Read and print control tokens such as <|eot_id|> as text");
  command.flag("--no-display-prompt", options->hide_prompt, "Print only what is generated");
  command.option("--on-pressure", &options->on_pressure,
                 "Where memory that the plan counts on is gone: continue, and say so; shrink: go on by a smaller plan "
                 "until it is back; stop",
                 {.show_default = true});
  command.flag("--json", options->json, "Print text and figures as one JSON object at the end");
  command.flag("-q,--quiet", options->quiet, "Print the text alone, without plan and figures");
  options->plan.add_to(command);
  options->speculation.add_to(command);
  options->sampling.add_to(command);
  options->grammar.add_to(command);
  command.set_action([options, &prompt] { return run(*options, prompt.given()); });
}

}  // namespace loadline::cli
