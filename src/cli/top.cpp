// `loadline top`: what a running server holds and does, redrawn in place.
#include <nlohmann/json.hpp>

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/redraw.h"
#include "cli/server_options.h"
#include "cli/terminal.h"
#include "cli/top_view.h"

namespace loadline::cli {
namespace {

using Json = nlohmann::ordered_json;

struct TopOptions {
  ServerOptions server;
  double period = 1;  // s
  bool once = false;
  bool as_json = false;
};

int run(const TopOptions& options) {
  const std::string url = options.server.url();
  Json before = options.server.get("/api/loadline/state");
  if (options.as_json) {
    print_json(before.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    return 0;
  }
  const bool live = !options.once && stdout_is_terminal() && stderr_is_terminal();
  if (!live) {
    std::string text;
    for (const std::string& line : top_lines(before, url, std::nullopt, terminal_columns())) text += line + "\n";
    print(text);
    return 0;
  }
  const StopOnInterrupt interrupt;
  Redraw screen;
  std::optional<TopRates> now;
  double last = steady_seconds();
  while (!interrupt.flag().load()) {
    screen.show(top_lines(before, url, now, terminal_columns()));
    if (!wait_until(last + options.period, interrupt)) break;
    Json after = options.server.get("/api/loadline/state");
    const double time = steady_seconds();
    now = rates_between(before, after, time - last);
    before = std::move(after);
    last = time;
  }
  return 0;
}

}  // namespace

void add_top(Program& program) {
  auto options = std::make_shared<TopOptions>();
  Command& command =
      program.add_command("top", "Show what a running server holds and does: memory, sessions, speed, trouble");
  options->server.add_to(command);
  command.flag("--once", options->once, "Show it once (as where standard output is no terminal)");
  command.flag("--json", options->as_json, "Print the state as JSON, once");
  command.option("--interval", &options->period, "Seconds from one look to the next", {.show_default = true});
  command.set_action([options] {
    if (!(options->period >= 0.1 && options->period <= 3600)) {
      throw bad_input("--interval is at least 0.1 seconds, and at most 3600");
    }
    return run(*options);
  });
}

}  // namespace loadline::cli
