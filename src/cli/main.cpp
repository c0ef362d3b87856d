// The program's entry: chooses the command, runs it, and turns any failure into one sentence and an exit code.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/parse.h"

namespace {

using loadline::ErrorCode;
namespace cli = loadline::cli;

cli::Program all_commands() {
  cli::Program program;
  cli::add_run(program);
  cli::add_plan(program);
  cli::add_devices(program);
  cli::add_bench(program);
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
    fmt::print("{}", cli::help_text(program));
    return 0;
  }
  if (first == "--version") {
    fmt::print("loadline 0.1.0\n");
    return 0;
  }
  cli::Command& command = command_named(program, first);
  const cli::Parsed parsed = cli::parse(command, std::span(arguments).subspan(1));
  if (parsed.help) {
    fmt::print("{}", cli::help_text(command));
    return 0;
  }
  for (const std::string& remark : parsed.remarks) std::fprintf(stderr, "%s\n", remark.c_str());
  return command.action()();
}

}  // namespace

// The handlers print with fprintf, which neither throws nor allocates: standard error may be closed, memory used up.
int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const loadline::Error& error) {
    std::fprintf(stderr, "loadline: %s\n", error.what());
    if (!error.hint().empty()) std::fprintf(stderr, "%s\n", error.hint().c_str());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "loadline: out of memory\n");
    return static_cast<int>(ErrorCode::DoesNotFit);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "loadline: internal error: %s\nPlease report this.\n", failure.what());
    return static_cast<int>(ErrorCode::Internal);
  }
}
