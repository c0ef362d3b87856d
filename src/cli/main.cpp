// The program's entry: chooses the command, runs it, and turns any failure into one sentence and an exit code.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>

#include "base/error.h"
#include "cli/command.h"

namespace {

int report(const loadline::Error& error) {
  fmt::print(stderr, "loadline: {}\n", error.what());
  if (!error.hint().empty()) fmt::print(stderr, "{}\n", error.hint());
  return static_cast<int>(error.code());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs GGUF language models inside an exact memory budget.", "loadline");
  app.set_version_flag("--version", "loadline 0.1.0");
  app.require_subcommand(1);
  loadline::cli::Action action;

  try {
    app.parse(argc, argv);
    return action ? action() : 0;
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& problem) {
    fmt::print(stderr, "loadline: {}\nSee `loadline --help`.\n", problem.what());
    return static_cast<int>(loadline::ErrorCode::BadInput);
  } catch (const loadline::Error& error) {
    return report(error);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "loadline: out of memory\n");
    return static_cast<int>(loadline::ErrorCode::DoesNotFit);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "loadline: internal error: {}\nPlease report this.\n", failure.what());
    return static_cast<int>(loadline::ErrorCode::Internal);
  }
}
