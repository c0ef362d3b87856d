// `loadline chat`: a conversation with a model, at a terminal or from a script.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/chat_session.h"
#include "cli/chat_template.h"
#include "cli/chat_terminal.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/plan_options.h"
#include "cli/sample_options.h"
#include "cli/terminal.h"
#include "cli/watching.h"
#include "plan/render.h"

namespace loadline::cli {
namespace {

constexpr Bytes kMostText{std::uint64_t{64} << 20};

struct Options {
  ModelOptions model;
  std::string prompt;
  std::string system;
  std::string system_file;
  std::string tools_file;
  std::vector<std::string> stops;
  std::int64_t predict = -1;
  std::int64_t reasoning_budget = -1;
  bool shift = false;
  bool json = false;
  bool quiet = false;
  TemplateOptions chat;
  PlanOptions plan;
  SampleOptions sampling;
};

// What the file recommends, where the user asked for nothing else; said in `said`.
sample::Options sampling_of(const gguf::Metadata& metadata, sample::Options options, std::string& said) {
  const sample::Options usual;
  const auto note = [&](std::string_view name, auto value) {
    said += fmt::format("{}{} {}", said.empty() ? "" : ", ", name, value);
  };
  const auto take = [&](std::string_view key, std::string_view name, float& value, float usual_value, float most) {
    const auto found = metadata.get_number(fmt::format("general.sampling.{}", key));
    if (!found || !(*found >= 0 && *found <= most) || value != usual_value) return;
    value = static_cast<float>(*found);
    note(name, value);
  };
  take("temp", "temp", options.temperature, usual.temperature, 100);
  take("top_p", "top-p", options.top_p, usual.top_p, 1);
  take("min_p", "min-p", options.min_p, usual.min_p, 1);
  if (const auto penalty = metadata.get_number("general.sampling.penalty_repeat"); penalty && *penalty > 0) {
    take("penalty_repeat", "repeat-penalty", options.repeat_penalty, usual.repeat_penalty, 100);
  }
  const auto top_k = metadata.get_signed("general.sampling.top_k");
  if (top_k && *top_k >= 0 && *top_k < (1 << 30) && options.top_k == usual.top_k) {
    options.top_k = static_cast<std::int32_t>(*top_k);
    note("top-k", options.top_k);
  }
  return options;
}

std::unique_ptr<engine::Engine> load(ModelSource source, plan::Plan plan, const std::atomic<bool>& stop) {
  ProgressBar bar("loading");
  engine::Engine::Options options;
  // The conversation as text, JSON and tokens, the template's values while it renders, and the answer.
  options.of_caller = Bytes((std::uint64_t{16} << 20) + 256 * std::uint64_t{plan.shape.context});
  return engine::Engine::load(
      std::move(source.model), std::move(source.program), std::move(plan),
      [&](Bytes done, Bytes total) {
        bar.update(static_cast<double>(done.value) / static_cast<double>(total.value),
                   fmt::format("{} of {}", to_string(done), to_string(total)));
      },
      stop, std::move(options));
}

std::string_view name_of(TurnEnding ending) {
  switch (ending) {
    case TurnEnding::EndOfTurn: return "stop";
    case TurnEnding::Length: return "length";
    case TurnEnding::ContextFull: return "context_full";
    case TurnEnding::Enough: return "stop_string";
    case TurnEnding::Interrupted: return "interrupted";
  }
  return "stop";
}

void print_answer(const ChatAnswer& answer) {
  nlohmann::ordered_json out;
  out["content"] = answer.answer.content;
  out["reasoning_content"] = answer.answer.reasoning;
  out["tool_calls"] = nlohmann::ordered_json::array();
  for (const chat::ToolCall& call : answer.answer.calls) {
    nlohmann::ordered_json one = {{"name", call.name}, {"arguments", nlohmann::ordered_json::parse(call.arguments)}};
    if (!call.id.empty()) one["id"] = call.id;
    out["tool_calls"].push_back(std::move(one));
  }
  out["ending"] = name_of(answer.figures.ending);
  out["prompt"] = {{"tokens", answer.figures.prompt_tokens},
                   {"cached", answer.figures.kept_tokens},
                   {"seconds", answer.figures.prompt_seconds}};
  out["generation"] = {{"tokens", answer.figures.generated_tokens}, {"seconds", answer.figures.generation_seconds}};
  print_json(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

// One answer to what is in the transcript.
int answer_once(ChatSession& session, const Options& options, double predicted) {
  const bool open = session.transcript.last_role() == "assistant";
  const StopOnInterrupt interrupt;
  AnswerPrinter printer(true);
  const ChatAnswer answer = session.answer(
      open,
      [&](const chat::OutputEvent& event) {
        if (!options.json) printer(event);
      },
      interrupt.flag());
  if (options.json) {
    print_answer(answer);
  } else {
    printer.end();
  }
  if (!options.quiet) {
    for (const std::string& note : answer.notes) say(note);
    say(figures_line(session, answer.figures, predicted));
  }
  return answer.figures.ending == TurnEnding::Interrupted ? static_cast<int>(ErrorCode::Interrupted) : 0;
}

// The question of a script: -p, or standard input, as messages in JSON or as text. False: there is none.
bool read_question(const Options& options, bool prompt_given, chat::Transcript& transcript) {
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

void introduce(const ChatSession& session, const plan::Plan& plan, const std::string& title,
               const std::vector<std::string>& notes, const std::string& sampling) {
  say(plan::summary_line(plan, title));
  for (const std::string& note : notes) say(note);
  const chat::ModelTemplate& chosen = session.chosen();
  std::string can;
  if (session.can().tools) can += "tools";
  if (session.can().thinking_switch) can += can.empty() ? "reasoning" : ", reasoning";
  say(fmt::format("{}{} · /help lists commands · Ctrl-C stops an answer, Ctrl-D leaves",
                  chosen.assumed ? fmt::format("the model has no chat template; {} is used", chosen.name)
                                 : fmt::format("template: {}", printable(chosen.name)),
                  can.empty() ? "" : fmt::format(" ({})", can)));
  if (!sampling.empty()) say(fmt::format("sampling as the model's file recommends: {}", sampling));
}

int run(const Options& options, bool prompt_given) {
  chat::Transcript transcript;
  const bool script = read_question(options, prompt_given, transcript);
  std::string system = options.system;
  if (!options.system_file.empty()) system = read_text_file(options.system_file, kMostText);
  ModelSource source = options.model.open(options.plan.most_header());
  const auto tokenizer = tokenizer::Tokenizer::from_metadata(source.model.metadata);
  const chat::ModelTemplate chosen = options.chat.choose(&source.model.metadata);
  (void)chat::Template(chosen.source);  // what is wrong with it is said before anything is loaded
  std::string sampling;
  ChatSettings settings;
  settings.sampling = sampling_of(source.model.metadata, options.sampling.options(*tokenizer), sampling);
  settings.most_tokens = options.predict;
  settings.reasoning_budget = options.reasoning_budget;
  settings.stops = options.stops;
  settings.kwargs = options.chat.kwargs;
  settings.shift = options.shift;
  if (!options.tools_file.empty()) settings.tools = read_text_file(options.tools_file, kMostText);
  (void)chat::Tools(settings.tools);

  const std::string title = source.title;
  hardware::Profile machine;
  const plan::Plan plan = options.plan.make_plan(source.model, source.program, 0, &machine);
  std::vector<std::string> notes = tokenizer->remarks();
  for (std::string& note : options.plan.notes(plan, source)) notes.push_back(std::move(note));
  std::unique_ptr<engine::Engine> loaded;
  {
    const StopOnInterrupt interrupt;
    loaded = load(std::move(source), plan, interrupt.flag());
  }
  if (loaded == nullptr) return static_cast<int>(ErrorCode::Interrupted);
  ChatEngine engine(std::move(loaded));
  const Watching watching(engine.engine(), machine, options.quiet);
  ChatSession session(engine, *tokenizer, chosen, title);
  session.transcript = std::move(transcript);
  session.settings = std::move(settings);
  if (!system.empty()) session.transcript.set_system(system);
  const double predicted = plan.prediction.generation_rate;
  const auto finish = [&](int code) {
    if (const std::string lost = watching.lost(); !lost.empty() && !options.quiet) say(lost);
    return code;
  };
  if (script) return finish(answer_once(session, options, predicted));
  if (!options.quiet) introduce(session, plan, title, notes, sampling);
  TerminalOptions terminal;
  terminal.quiet = options.quiet;
  terminal.plan_text = plan::summary_line(plan, title);
  return finish(talk(session, terminal, *tokenizer, predicted));
}

}  // namespace

void add_chat(Program& program) {
  auto options = std::make_shared<Options>();
  Command& command = program.add_command("chat", "Talk with a model (without -m: the demo model)");
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
  command.option("--tools", &options->tools_file, "JSON file with tools to offer, as in OpenAI's API");
  command.flag("--context-shift", options->shift, "Forget the oldest turns where the context is full");
  command.flag("--json", options->json, "Print answer and figures as one JSON object");
  command.flag("-q,--quiet", options->quiet, "Print the answer alone");
  options->chat.add_to(command);
  options->plan.add_to(command);
  options->sampling.add_to(command);
  command.set_action([options, &prompt] { return run(*options, prompt.given()); });
}

}  // namespace loadline::cli
