// What a command is: a subcommand added to the parser, and a function that runs when it was chosen.
// Commands hold no logic of their own; they turn options into calls and results into text.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>

namespace loadline::cli {

// Set by the command whose name was given; returns the exit code. May throw Error.
using Action = std::function<int()>;

// Each adds one subcommand to `app` and sets `action` from its callback.
// One line a command; the definition is in the file of the same name.
void add_bench(CLI::App& app, Action& action);
void add_devices(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_logits(CLI::App& app, Action& action);
void add_plan(CLI::App& app, Action& action);
void add_quantize(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_synth(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);

}  // namespace loadline::cli
