// `loadline chat`: a conversation with a model, at a terminal or from a script.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/chat_template.h"
#include "cli/chat_terminal.h"
#include "cli/command.h"
#include "cli/grammar_options.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/plan_options.h"
#include "cli/pressure.h"
#include "cli/sample_options.h"
#include "cli/speculate_options.h"
#include "cli/terminal.h"
#include "plan/render.h"
#include "talk/dialogue.h"

namespace loadline::cli {
namespace {

constexpr Bytes kMostText{std::uint64_t{64} << 20};
constexpr std::uint32_t kForcedRows = 9;  // logits of a pass where a grammar knows what comes next

struct ChatOptions {
  ModelOptions model;
  std::string prompt;
  std::string system;
  std::string system_file;
  std::string tools_file;
  std::vector<std::string> stops;
  std::int64_t predict = -1;
  std::int64_t reasoning_budget = -1;
  std::vector<std::string> banned;
  std::string tool_choice = "auto";
  std::int32_t log_probabilities = -1;
  std::int64_t keep = 0;
  bool shift = false;
  bool json = false;
  bool quiet = false;
  std::string on_pressure = "continue";
  TemplateOptions chat;
  PlanOptions plan;
  SpeculateOptions speculation;
  SampleOptions sampling;
  GrammarOptions grammar;
};

std::unique_ptr<engine::Engine> load(ModelSource source, plan::Plan plan, Bytes of_answers, bool outlive_devices,
                                     const std::atomic<bool>& stop) {
  ProgressBar bar("loading");
  engine::Engine::Options options;
  options.scheduler.outlive_devices = outlive_devices;
  // The conversation as text, JSON and tokens, the template's values while it renders, and the answer.
  options.of_caller = Bytes((std::uint64_t{16} << 20) + 256 * std::uint64_t{plan.shape.context}) + of_answers;
  return engine::Engine::load(
      std::move(source.model), std::move(source.program), std::move(plan),
      [&](Bytes done, Bytes total) {
        bar.update(static_cast<double>(done.value) / static_cast<double>(total.value),
                   fmt::format("{} of {}", to_string(done), to_string(total)));
      },
      stop, std::move(options));
}

std::string_view name_of(talk::Finish finish) {
  switch (finish) {
    case talk::Finish::End: return "stop";
    case talk::Finish::Length: return "length";
    case talk::Finish::ContextFull: return "context_full";
    case talk::Finish::StopString: return "stop_string";
    case talk::Finish::Cancelled:
    case talk::Finish::Failed: return "interrupted";
  }
  return "stop";
}

nlohmann::ordered_json log_probabilities_json(const std::vector<talk::TokenReport>& reports,
                                              const tokenizer::Tokenizer& tokenizer) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const talk::TokenReport& report : reports) {
    nlohmann::ordered_json top = nlohmann::ordered_json::array();
    for (const sample::LogProbability& one : report.top) {
      top.push_back({{"id", one.token}, {"token", tokenizer.piece(one.token, true)}, {"logprob", one.value}});
    }
    out.push_back({{"id", report.token},
                   {"token", tokenizer.piece(report.token, true)},
                   {"logprob", report.log_probability},
                   {"top_logprobs", std::move(top)}});
  }
  return out;
}

void print_answer(const talk::Answer& answer, const talk::Dialogue& dialogue) {
  const exec::SessionResult& figures = answer.outcome.figures;
  nlohmann::ordered_json out;
  out["content"] = answer.outcome.answer.content;
  out["reasoning_content"] = answer.outcome.answer.reasoning;
  out["tool_calls"] = nlohmann::ordered_json::array();
  for (const chat::ToolCall& call : answer.outcome.answer.calls) {
    // (A number too large for a double is JSON, and none that can be printed.)
    nlohmann::ordered_json arguments = nlohmann::ordered_json::parse(call.arguments, nullptr, false);
    if (arguments.is_discarded()) arguments = call.arguments;
    nlohmann::ordered_json one = {{"name", call.name}, {"arguments", std::move(arguments)}};
    if (!call.id.empty()) one["id"] = call.id;
    out["tool_calls"].push_back(std::move(one));
  }
  out["ending"] = name_of(answer.outcome.finish);
  if (!answer.outcome.stop.empty()) out["stop"] = answer.outcome.stop;
  out["prompt"] = {
      {"tokens", answer.prompt_tokens}, {"cached", figures.shared_tokens}, {"seconds", figures.prompt_seconds}};
  out["generation"] = {{"tokens", figures.generated_tokens},
                       {"seconds", figures.generation_seconds},
                       {"passes", figures.passes},
                       {"drafted", figures.drafted_tokens},
                       {"accepted", figures.accepted_tokens}};
  const plan::Plan& plan = dialogue.engine().plan();
  out["predicted"] = {{"prompt", plan.prediction.prompt_rate}, {"generation", plan.prediction.generation_rate}};
  out["context"] = {{"tokens", dialogue.context()}, {"used", dialogue.used()}};
  if (dialogue.settings.log_probabilities) {
    out["logprobs"] = log_probabilities_json(answer.tokens, dialogue.model().tokenizer());
  }
  if (!answer.notes.empty()) out["notes"] = answer.notes;
  print_json(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

// One answer to what is in the transcript.
int answer_once(talk::Dialogue& dialogue, const ChatOptions& options, speculate::Drafter* drafter) {
  const bool open = dialogue.transcript.last_role() == "assistant";
  const StopOnInterrupt interrupt;
  AnswerPrinter printer(true);
  const talk::Answer answer = dialogue.answer(
      open,
      [&](const chat::OutputEvent& event) {
        if (!options.json) printer(event);
      },
      interrupt.flag(), drafter);
  if (options.json) {
    print_answer(answer, dialogue);
  } else {
    printer.end();
  }
  if (!options.quiet) {
    for (const std::string& note : answer.notes) say(note);
    say(figures_line(dialogue, answer));
  }
  return answer.outcome.finish == talk::Finish::Cancelled ? static_cast<int>(ErrorCode::Interrupted) : 0;
}

// The question of a script: -p, or standard input, as messages in JSON or as text. False: there is none.
bool read_question(const ChatOptions& options, bool prompt_given, chat::Transcript& transcript) {
  if (prompt_given) {
    transcript.add("user", options.prompt);
    return true;
  }
  if (!input_is_piped()) return false;
  std::string text = read_standard_input(kMostText);
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) throw bad_input("standard input is empty", "Pipe messages as JSON in, or a text.");
  if (text[begin] == '[' || text[begin] == '{') {
    transcript = chat::Transcript::from_json(text);
  } else {
    while (text.ends_with('\n')) text.pop_back();
    transcript.add("user", text);
  }
  return true;
}

void introduce(const talk::ChatModel& model, const plan::Plan& plan, const std::string& title,
               const std::vector<std::string>& notes) {
  say(plan::summary_line(plan, title));
  for (const std::string& note : notes) say(note);
  const chat::ModelTemplate& chosen = model.chosen();
  std::string can;
  if (model.can().tools) can += "tools";
  if (model.can().thinking_switch) can += can.empty() ? "reasoning" : ", reasoning";
  say(fmt::format("{}{} · /help lists commands · Ctrl-C stops an answer, Ctrl-D leaves",
                  chosen.assumed ? fmt::format("the model has no chat template; {} is used", chosen.name)
                                 : fmt::format("template: {}", printable(chosen.name)),
                  can.empty() ? "" : fmt::format(" ({})", can)));
}

talk::DialogueSettings settings_of(const ChatOptions& options, const gguf::Metadata& metadata,
                                   const tokenizer::Tokenizer& tokenizer, std::vector<std::string>& notes) {
  talk::DialogueSettings settings;
  settings.sampling = options.sampling.options(metadata, tokenizer, notes);
  settings.most_tokens = options.predict;
  settings.reasoning_budget = options.reasoning_budget;
  settings.stops = options.stops;
  settings.banned = options.banned;
  settings.kwargs = options.chat.kwargs;
  settings.shift = options.shift;
  settings.keep = options.keep;
  settings.tool_choice = options.tool_choice;
  if (options.log_probabilities >= 0) {
    settings.log_probabilities = {static_cast<std::uint32_t>(options.log_probabilities), false};
  }
  if (!options.tools_file.empty()) settings.tools = read_text_file(options.tools_file, kMostText);
  (void)chat::Tools(settings.tools);
  if (auto grammar = options.grammar.grammar(tokenizer)) {
    if (!settings.tools.empty()) {
      throw bad_input("an answer cannot both keep to a grammar and call tools", "Leave out one of the two.");
    }
    settings.grammar = std::make_shared<const grammar::Grammar>(std::move(*grammar));
  }
  return settings;
}

int run(const ChatOptions& options, bool prompt_given) {
  chat::Transcript transcript;
  const bool script = read_question(options, prompt_given, transcript);
  std::string system = options.system;
  if (!options.system_file.empty()) system = read_text_file(options.system_file, kMostText);
  ModelSource source = options.model.open(options.plan.most_header());
  const auto tokenizer = tokenizer::Tokenizer::from_metadata(source.model.metadata);
  const std::string title = source.title;
  // What is wrong with the template, or the grammar, is said before anything is loaded.
  const talk::ChatModel model(source.model.metadata, *tokenizer, options.chat.choose(&source.model.metadata), title);
  std::vector<std::string> notes = tokenizer->remarks();
  talk::DialogueSettings settings = settings_of(options, source.model.metadata, *tokenizer, notes);
  const bool constrained = settings.grammar != nullptr || !settings.tools.empty();

  Pressure::Options pressed;
  pressed.on_pressure = on_pressure_of(options.on_pressure);
  pressed.quiet = options.quiet;
  const bool may_shrink = pressed.on_pressure == serve::OnPressure::Shrink;
  if (pressed.on_pressure == serve::OnPressure::Stop) {
    throw bad_input("--on-pressure stop would end the conversation", "Here it can be continue or shrink.");
  }
  if (may_shrink && options.plan.is_stored()) {
    throw bad_input("--plan says where everything lies, and --on-pressure shrink would change it",
                    "Leave out one of the two.");
  }
  const plan::Plan plan =
      options.plan.make_plan(source.model, source.program,
                             std::max(options.speculation.outputs(), constrained ? kForcedRows : 0), &pressed.machine);
  if (may_shrink) pressed.plan = options.plan.tuned_options(source.model, source.program, pressed.machine);
  for (std::string& note : options.plan.notes(plan, source)) notes.push_back(std::move(note));
  std::optional<speculate::NgramDrafter> drafter;
  if (const auto speculation = options.speculation.options()) drafter.emplace(*speculation, plan.shape.context + 1);
  const Bytes of_answers =
      talk::Dialogue::memory_bytes(settings, model, source.program.config.vocabulary, plan.shape.context);
  std::unique_ptr<engine::Engine> engine;
  {
    const StopOnInterrupt interrupt;
    engine = load(std::move(source), plan, of_answers, may_shrink, interrupt.flag());
  }
  if (engine == nullptr) return static_cast<int>(ErrorCode::Interrupted);
  Pressure pressure(*engine, std::move(pressed));
  const auto finish = [&](int code) {
    if (const std::string lost = pressure.lost(); !lost.empty() && !options.quiet) say(lost);
    return code;
  };
  talk::Dialogue dialogue(*engine, model);
  dialogue.run_with = [&pressure](const std::atomic<bool>& stop) { pressure.run(stop); };
  dialogue.transcript = std::move(transcript);
  dialogue.settings = std::move(settings);
  if (!system.empty()) dialogue.transcript.set_system(system);
  speculate::Drafter* guesses = drafter ? &*drafter : nullptr;
  if (script) return finish(answer_once(dialogue, options, guesses));
  if (!options.quiet) introduce(model, plan, title, notes);
  TerminalOptions terminal;
  terminal.quiet = options.quiet;
  terminal.plan_text = plan::plan_table(engine->model(), engine->program(), plan, {}, {}, {});
  return finish(talk_at_terminal(dialogue, terminal, guesses));
}

}  // namespace

void add_chat(Program& program) {
  auto options = std::make_shared<ChatOptions>();
  Command& command = program.add_command("chat", "Talk with a model (without -m: the demo model)");
  options->model.set_demo("demo-chat.gguf");
  options->model.add_to(command);
  const Option& prompt =
      command.option("-p,--prompt", &options->prompt,
                     "One question; the answer is printed (standard input: messages as JSON, or a text)");
  Option& system = command.option("-sys,--system-prompt", &options->system, "System message");
  command.option("-sysf,--system-prompt-file", &options->system_file, "The same from a file").excludes(system);
  command.option("-n,--predict,--n-predict", &options->predict, "Most tokens of an answer (-1: no limit)",
                 {.least = -1, .most = std::int64_t{1} << 31, .show_default = true});
  command.option("--reasoning-budget", &options->reasoning_budget,
                 "Most tokens of reasoning, which is then ended (-1: no limit)",
                 {.least = -1, .most = std::int64_t{1} << 31, .show_default = true});
  command.option("--stop", &options->stops, "Text that ends an answer; may be given several times");
  command.option("--ban", &options->banned, "Phrase that is not to be written, in either case; may be repeated");
  command.option("--tools", &options->tools_file, "JSON file with tools to offer, as in OpenAI's API");
  command.option("--tool-choice", &options->tool_choice, "auto, none, required, or the name of the tool to call",
                 {.show_default = true});
  command.option("--logprobs", &options->log_probabilities,
                 "With --json: the logarithm of each token's probability, and of the N likeliest (0: its own alone)",
                 {.least = -1, .most = 100});
  command.flag("--context-shift", options->shift, "Forget the oldest turns where the context is full");
  command.option("--keep", &options->keep, "But not the turns within the first N tokens (-1: none is forgotten)",
                 {.least = -1, .most = std::int64_t{1} << 31, .show_default = true});
  command.option("--on-pressure", &options->on_pressure,
                 "Where memory that the plan counts on is gone: continue, and say so; shrink: go on by a smaller plan "
                 "until it is back",
                 {.show_default = true});
  command.flag("--json", options->json, "Print answer and figures as one JSON object");
  command.flag("-q,--quiet", options->quiet, "Print the answer alone");
  options->chat.add_to(command);
  options->plan.add_to(command);
  options->speculation.add_to(command);
  options->sampling.add_to(command);
  options->grammar.add_to(command);
  command.set_action([options, &prompt] { return run(*options, prompt.given()); });
}

}  // namespace loadline::cli
