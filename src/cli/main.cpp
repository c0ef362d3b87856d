// The program's entry: chooses the command, runs it, and turns any failure into one sentence and an exit code.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/short_flags.h"

namespace {

using loadline::ErrorCode;

int run(int argc, char** argv) {
  CLI::App app("Runs GGUF language models inside an exact memory budget.", "loadline");
  app.set_version_flag("--version", "loadline 0.1.0");
  app.require_subcommand(1);
  loadline::cli::Action action;
  loadline::cli::add_run(app, action);
  loadline::cli::add_plan(app, action);
  loadline::cli::add_devices(app, action);
  loadline::cli::add_bench(app, action);
  loadline::cli::add_inspect(app, action);
  loadline::cli::add_logits(app, action);
  loadline::cli::add_quantize(app, action);
  loadline::cli::add_synth(app, action);
  loadline::cli::add_tokenize(app, action);

  loadline::cli::set_help_layout(app);
  const auto commands = app.get_subcommands([](CLI::App*) { return true; });
  for (CLI::App* command : commands) {
    loadline::cli::set_help_layout(*command);
    loadline::cli::expect_numbers(*command);
  }
  constexpr const char* kSeeHelp = "See `loadline --help`.";
  if (argc < 2) throw loadline::bad_input("no command was given", kSeeHelp);
  const std::string_view first = argv[1];
  const auto is_named = [&](const CLI::App* command) { return command->check_name(argv[1]); };
  if (first != "-h" && first != "--help" && first != "--version" && std::ranges::none_of(commands, is_named)) {
    throw loadline::bad_input(fmt::format("there is no command \"{}\"", loadline::printable(first)), kSeeHelp);
  }
  try {
    std::vector<std::string> arguments = loadline::cli::spell_out_flags(argc, argv);
    std::ranges::reverse(arguments);  // the parser takes them from the end
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  }
  return action ? action() : 0;
}

}  // namespace

// The handlers print with fprintf, which neither throws nor allocates: standard error may be closed, memory used up.
int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const CLI::ParseError& problem) {
    std::fprintf(stderr, "loadline: %s\nSee `loadline --help`.\n", loadline::cli::sentence(problem).c_str());
    return static_cast<int>(ErrorCode::BadInput);
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
