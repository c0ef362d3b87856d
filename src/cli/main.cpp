// The program's entry: chooses the command, runs it, and turns any failure into one sentence and an exit code.
#include <fmt/format.h>

#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/output.h"
#include "cli/parse.h"
#include "cli/settings.h"

namespace {

using loadline::ErrorCode;
namespace cli = loadline::cli;

cli::Program all_commands() {
  cli::Program program;
  cli::add_run(program);
  cli::add_chat(program);
  cli::add_serve(program);
  cli::add_budget(program);
  cli::add_top(program);
  cli::add_ui(program);
  cli::add_plan(program);
  cli::add_devices(program);
  cli::add_selftest(program);
  cli::add_bench(program);
  cli::add_tune(program);
  cli::add_grammar(program);
  cli::add_inspect(program);
  cli::add_logits(program);
  cli::add_quantize(program);
  cli::add_synth(program);
  cli::add_tokenize(program);
  cli::add_template(program);
  return program;
}

cli::Command& command_named(cli::Program& program, const std::string& name) {
  std::vector<std::string> names;
  for (cli::Command& command : program.commands()) {
    if (command.name() == name) return command;
    names.push_back(command.name());
  }
  const std::string near = cli::nearest(name, names);
  throw loadline::bad_input(
      fmt::format("there is no {} \"{}\"", name.starts_with('-') ? "flag" : "command", loadline::printable(name)),
      near.empty() ? "See `loadline --help`." : fmt::format("The nearest is {}. See `loadline --help`.", near));
}

int run(const std::vector<std::string>& arguments) {
  cli::Program program = all_commands();
  if (arguments.empty()) throw loadline::bad_input("no command was given", "See `loadline --help`.");
  const std::string& first = arguments.front();
  if (first == "-h" || first == "--help") {
    cli::print(cli::help_text(program));
    return 0;
  }
  if (first == "--version") {
    cli::print(fmt::format("loadline {}\n", loadline::kVersion));
    return 0;
  }
  cli::Command& command = command_named(program, first);
  const cli::Parsed parsed = cli::parse(command, std::span(arguments).subspan(1));
  if (parsed.help) {
    cli::print(cli::help_text(command));
    return 0;
  }
  for (const std::string& remark : parsed.remarks) cli::say(remark);
  return command.action()();
}

// Without any memory, if need be.
int end_with(ErrorCode code, const char* sentence) noexcept {
  cli::draw(sentence);
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  cli::prepare_standard_streams();
  try {
    try {
      const int code = run({argv + 1, argv + argc});
      cli::close_standard_output();
      return code;
    } catch (const loadline::Error& error) {
      // One line, whatever names of files and tensors the sentence holds.
      cli::say(fmt::format("loadline: {}", loadline::printable(error.what(), std::string::npos)));
      std::string hint = error.hint();
      if (const auto* about = dynamic_cast<const loadline::SettingError*>(&error)) {
        hint += fmt::format("{}It is set with {}.", hint.empty() ? "" : " ", cli::flag_of(about->setting()));
      }
      if (!hint.empty()) cli::say(hint);
      return static_cast<int>(error.code());
    } catch (const std::bad_alloc&) {
      return end_with(ErrorCode::DoesNotFit, "loadline: out of memory\n");
    } catch (const std::exception& failure) {
      cli::say(fmt::format("loadline: internal error: {}\nPlease report this.", failure.what()));
      return static_cast<int>(ErrorCode::Internal);
    }
  } catch (const std::exception&) {  // while saying so
    return end_with(ErrorCode::DoesNotFit, "loadline: out of memory\n");
  }
}
