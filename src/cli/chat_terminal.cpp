#include "cli/chat_terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/output_file.h"
#include "base/text.h"
#include "cli/line_editor.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace loadline::cli {
namespace {

constexpr Bytes kLongestTranscript{std::uint64_t{64} << 20};
constexpr double kNearlyFull = 0.85;
constexpr std::string_view kQuotes = "\"\"\"";

constexpr std::string_view kHelp = R"(/help                this list
/system [TEXT]       set the system message, or take it away
/undo                take back the last question and its answer
/retry, /regen       answer the last question anew
/continue            go on with the last answer
/result TEXT         what a tool that was called gave
/tools on|off        offer tools or not
/set [NAME VALUE]    a sampling parameter: temp, top-k, top-p, min-p, repeat-penalty, seed, predict,
                     reasoning-budget
/reasoning on|off    show reasoning
/new, /clear         begin anew, with the same system message
/save FILE, /load FILE   the conversation as JSON messages
/prompt              what the model saw, as tokens
/plan                where the model lies
/quit                leave, as Ctrl-D
A line that ends in \ goes on in the next; """ begins and ends a text of several lines, and what is pasted is one text.
A blank before the / makes it text. Ctrl-C stops an answer.)";

std::string rate(std::size_t tokens, double seconds) {
  if (tokens == 0 || seconds <= 0) return "-";
  const double per_second = static_cast<double>(tokens) / seconds;
  return fmt::format("{:.{}f} tok/s", per_second, per_second < 10 ? 2 : per_second < 100 ? 1 : 0);
}

template <typename Number>
void parse_number(std::string_view text, Number& out, Number least, Number most) {
  Number value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || !(value >= least && value <= most)) {
    throw bad_input(fmt::format("\"{}\" is no value for that; it can be {} to {}", printable(text), least, most));
  }
  out = value;
}

class Talk {
 public:
  Talk(talk::Dialogue& dialogue, const TerminalOptions& options, speculate::Drafter* drafter)
      : dialogue_(dialogue), options_(options), drafter_(drafter) {}

  int run() {
    int interrupts = 0;
    while (!left_) {
      const auto line = read_text();
      if (!line) break;
      if (line->interrupted) {
        if (++interrupts == 2) say("Ctrl-D leaves");
        continue;
      }
      interrupts = 0;
      if (line->text.empty()) continue;
      editor_.remember(line->text);
      try {
        if (line->text.starts_with('/')) {
          command(line->text);
        } else {
          dialogue_.transcript.add("user", line->text);
          ask(false);
        }
      } catch (const Error& error) {
        if (error.code() != ErrorCode::BadInput) throw;
        say(error.what());
        if (!error.hint().empty()) say(error.hint());
      }
    }
    if (::isatty(STDIN_FILENO) != 0) say("");
    return 0;
  }

 private:
  // A line, or several that belong together.
  std::optional<LineEditor::Line> read_text() {
    auto line = editor_.read("> ");
    if (!line || line->interrupted) return line;
    if (line->text.starts_with(kQuotes)) {
      line->text.erase(0, kQuotes.size());
      while (!line->text.ends_with(kQuotes)) {
        auto more = editor_.read(". ");
        if (!more || more->interrupted) return more;
        if (!line->text.empty()) line->text += '\n';
        line->text += more->text;
      }
      line->text.resize(line->text.size() - kQuotes.size());
      if (line->text.ends_with('\n')) line->text.pop_back();
      return line;
    }
    while (line->text.ends_with('\\')) {
      auto more = editor_.read(". ");
      if (!more || more->interrupted) return more;
      line->text.back() = '\n';
      line->text += more->text;
    }
    return line;
  }

  // An answer; the question is taken back where there cannot be one.
  void ask(bool open) {
    AnswerPrinter printer(options_.reasoning);
    const StopOnInterrupt interrupt(4);  // who presses twice wants the answer to stop, and not to lose the talk
    talk::Answer answer;
    try {
      answer =
          dialogue_.answer(open, [&](const chat::OutputEvent& event) { printer(event); }, interrupt.flag(), drafter_);
    } catch (const Error&) {
      printer.end();
      if (!open && dialogue_.transcript.last_role() == "user") dialogue_.transcript.undo();
      throw;
    }
    printer.end();
    if (dialogue_.transcript.last_role() == "user") {  // nothing came: no answer, and so no question
      dialogue_.transcript.undo();
    }
    for (const std::string& note : answer.notes) say(note);
    if (open && answer.outcome.figures.generated_tokens == 0 && answer.outcome.finish == talk::Finish::End) {
      say("the model has nothing to add");
    }
    if (answer.outcome.finish == talk::Finish::Cancelled) {
      say(fmt::format("stopped after {} tokens; /continue goes on", answer.outcome.figures.generated_tokens));
    }
    if (answer.outcome.finish == talk::Finish::ContextFull) {
      say(dialogue_.settings.shift
              ? "the context is full: /continue goes on without the oldest turns"
              : "the context is full: /undo takes turns back, /new begins anew, and -c gives more");
    }
    if (!options_.quiet) say(figures_line(dialogue_, answer));
    warn_of_full(answer);
    if (!answer.outcome.answer.calls.empty()) say("the model called a tool: /result TEXT gives it what the tool says");
  }

  // Before it happens: another turn like this one would not fit.
  void warn_of_full(const talk::Answer& answer) const {
    if (answer.outcome.finish == talk::Finish::ContextFull) return;
    const exec::SessionResult& figures = answer.outcome.figures;
    const std::size_t turn =
        answer.prompt_tokens - std::min(answer.prompt_tokens, figures.shared_tokens) + figures.generated_tokens;
    const double full = static_cast<double>(dialogue_.used()) / static_cast<double>(dialogue_.context());
    if (full < kNearlyFull && dialogue_.used() + turn <= dialogue_.context()) return;
    say(fmt::format("the context is {:.0f} % full{}: {}", 100 * full,
                    full < kNearlyFull ? ", and another turn like this one would not fit" : "",
                    dialogue_.settings.shift ? "the oldest turns will be forgotten"
                                             : "/undo, /new, or start with --context-shift or a larger -c"));
  }

  void command(const std::string& line) {
    const std::size_t blank = std::min(line.find_first_of(" \n"), line.size());
    const std::string name = line.substr(1, blank - 1);
    const std::string rest = blank < line.size() ? line.substr(blank + 1) : std::string();
    if (name == "help" || name == "?") {
      say(kHelp);
    } else if (name == "quit" || name == "exit" || name == "bye") {
      left_ = true;
    } else if (name == "system") {
      dialogue_.transcript.set_system(rest);
    } else if (name == "undo") {
      const std::string text = dialogue_.transcript.undo();
      say(text.empty() ? "there is nothing to take back" : fmt::format("taken back: {}", printable(text)));
    } else if (name == "retry" || name == "regen") {
      if (!dialogue_.transcript.drop_answer()) throw bad_input("there is no answer to give anew");
      ask(false);
    } else if (name == "continue") {
      if (dialogue_.transcript.last_role() != "assistant") throw bad_input("there is no answer to go on with");
      ask(true);
    } else if (name == "result") {
      if (dialogue_.transcript.last_role() != "assistant") throw bad_input("no tool was called");
      dialogue_.transcript.add_tool_result(rest);
      ask(false);
    } else if (name == "new" || name == "clear" || name == "reset") {
      dialogue_.transcript.clear();
    } else if (name == "tools" || name == "reasoning") {
      if (rest != "on" && rest != "off") throw bad_input(fmt::format("/{} is on or off", name));
      (name == "tools" ? dialogue_.settings.tools_on : options_.reasoning) = rest == "on";
      if (name == "tools" && dialogue_.settings.tools.empty()) say("no tools were given; --tools FILE does");
    } else if (name == "save") {
      save(rest);
    } else if (name == "load") {
      dialogue_.transcript = chat::Transcript::from_json(read_text_file(rest, kLongestTranscript));
      say(fmt::format("{} messages", dialogue_.transcript.size()));
    } else if (name == "prompt") {
      show_prompt();
    } else if (name == "plan") {
      say(options_.plan_text);
    } else if (name == "set") {
      // Ollama's words, which many hands know.
      constexpr std::string_view kSystem = "system ";
      constexpr std::string_view kParameter = "parameter ";
      if (rest.starts_with(kSystem)) {
        dialogue_.transcript.set_system(std::string_view(rest).substr(kSystem.size()));
      } else {
        set(rest.starts_with(kParameter) ? rest.substr(kParameter.size()) : rest);
      }
    } else {
      throw bad_input(fmt::format("there is no command /{}", printable(name)),
                      "/help lists them; a blank before the / makes it text.");
    }
  }

  void save(const std::string& path) const {
    if (path.empty()) throw bad_input("/save needs the name of a file");
    OutputFile file(path);
    file.write(dialogue_.transcript.json() + "\n");
    file.finish();
    say(fmt::format("{} messages are in {}", dialogue_.transcript.size(), printable(path)));
  }

  void show_prompt() {
    const bool open = dialogue_.transcript.last_role() == "assistant";
    const std::vector<std::int32_t> tokens = dialogue_.prompt(open).tokens;
    std::string out;
    for (const std::int32_t token : tokens) {
      out += fmt::format("{:>8}  \"{}\"\n", token, printable(dialogue_.model().tokenizer().piece(token, true)));
    }
    say(fmt::format("{}{} tokens", out, tokens.size()));
  }

  void set(const std::string& rest) {
    sample::Options& sampling = dialogue_.settings.sampling;
    const std::size_t blank = rest.find(' ');
    if (blank == std::string::npos) {
      say(
          fmt::format("temp {} · top-k {} · top-p {} · min-p {} · repeat-penalty {} · seed {} · predict {} · "
                      "reasoning-budget {}",
                      sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.repeat_penalty,
                      sampling.seed ? fmt::format("{}", *sampling.seed) : "random", dialogue_.settings.most_tokens,
                      dialogue_.settings.reasoning_budget));
      return;
    }
    std::string name = rest.substr(0, blank);
    std::ranges::replace(name, '_', '-');
    const std::string_view value = std::string_view(rest).substr(blank + 1);
    sample::Options changed = sampling;
    std::int64_t number = 0;
    if (name == "temp" || name == "temperature") {
      parse_number(value, changed.temperature, 0.0F, 100.0F);
    } else if (name == "top-k") {
      parse_number(value, changed.top_k, -1, 1 << 30);
    } else if (name == "top-p") {
      parse_number(value, changed.top_p, 0.0F, 1.0F);
    } else if (name == "min-p") {
      parse_number(value, changed.min_p, 0.0F, 1.0F);
    } else if (name == "repeat-penalty") {
      parse_number(value, changed.repeat_penalty, 0.01F, 100.0F);
    } else if (name == "seed") {
      parse_number(value, number, std::int64_t{-1}, INT64_MAX);
      changed.seed = number < 0 ? std::nullopt : std::optional(static_cast<std::uint64_t>(number));
    } else if (name == "predict" || name == "num-predict") {
      parse_number(value, dialogue_.settings.most_tokens, std::int64_t{-1}, std::int64_t{1} << 31);
    } else if (name == "reasoning-budget") {
      parse_number(value, dialogue_.settings.reasoning_budget, std::int64_t{-1}, std::int64_t{1} << 31);
    } else {
      throw bad_input(fmt::format("there is no parameter {}", printable(name)), "/set lists them.");
    }
    sampling = changed;
  }

  talk::Dialogue& dialogue_;
  TerminalOptions options_;
  speculate::Drafter* drafter_;
  LineEditor editor_;
  bool left_ = false;
};

}  // namespace

AnswerPrinter::AnswerPrinter(bool show_reasoning)
    : show_reasoning_(show_reasoning), terminal_(stdout_is_terminal() && std::getenv("NO_COLOR") == nullptr) {}

void AnswerPrinter::write(std::string_view text) {
  if (text.empty()) return;
  print_text(text);
  ends_line_ = text.ends_with('\n');
}

void AnswerPrinter::operator()(const chat::OutputEvent& event) {
  using Kind = chat::OutputEvent::Kind;
  if (event.kind == Kind::Reasoning) {
    if (!show_reasoning_ || !stdout_is_terminal()) return;
    if (!dimmed_ && terminal_) print("\033[2m", true);
    dimmed_ = true;
    write(event.text);
    return;
  }
  if (dimmed_) {
    if (terminal_) print("\033[0m", true);
    write("\n\n");
    dimmed_ = false;
  }
  switch (event.kind) {
    case Kind::Content: write(event.text); break;
    case Kind::CallBegins: write(fmt::format("{}{} ", ends_line_ ? "" : "\n", printable(event.text))); break;
    case Kind::CallArguments: write(event.text); break;
    case Kind::CallEnds:
    case Kind::CallDropped: write("\n"); break;
    default: break;
  }
}

void AnswerPrinter::end() {
  if (dimmed_ && terminal_) print("\033[0m", true);
  dimmed_ = false;
  if (!ends_line_) write("\n");
}

std::string figures_line(const talk::Dialogue& dialogue, const talk::Answer& answer) {
  const exec::SessionResult& figures = answer.outcome.figures;
  const std::size_t computed = answer.prompt_tokens - std::min(answer.prompt_tokens, figures.shared_tokens);
  const std::size_t after_first = figures.generated_tokens > 0 ? figures.generated_tokens - 1 : 0;
  const std::string kept = figures.shared_tokens > 0
                               ? fmt::format("{} new tokens, {} kept", computed, figures.shared_tokens)
                               : fmt::format("{} tokens", computed);
  const plan::Plan& plan = dialogue.engine().plan();
  const double predicted = plan.prediction.generation_rate;
  // The engine takes off what it was told that the conversation holds, which may be more than that.
  const Bytes held = dialogue.engine().held().process;
  const Bytes planned = plan::tier_total(plan, plan::kCpu);
  const std::string memory = held.value > 0 ? fmt::format("{} of RAM, {} planned", to_string(held), to_string(planned))
                                            : fmt::format("{} of RAM planned", to_string(planned));
  return fmt::format("prompt {}, {} · {} tokens, {} (predicted {}) · context {:.0f} % used · {}", kept,
                     rate(computed, figures.prompt_seconds), figures.generated_tokens,
                     rate(after_first, figures.generation_seconds), rate(1, predicted > 0 ? 1 / predicted : 0),
                     100.0 * static_cast<double>(dialogue.used()) / static_cast<double>(dialogue.context()), memory);
}

int talk_at_terminal(talk::Dialogue& dialogue, const TerminalOptions& options, speculate::Drafter* drafter) {
  return Talk(dialogue, options, drafter).run();
}

}  // namespace loadline::cli
