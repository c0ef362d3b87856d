// `loadline selftest`: proves and measures the GPUs of this machine, and writes a report for whoever asks.
#include "selftest/selftest.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/output_file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace loadline::cli {
namespace {

struct SelftestOptions {
  selftest::Options test;
  std::string out;
  bool json = false;
};

constexpr int kSomethingFailed = 1;

int run(const SelftestOptions& options) {
  if (!(options.test.minutes > 0 && options.test.minutes <= 1440)) {
    throw bad_input("the minutes of a self-test are more than 0 and at most 1440");
  }
  const StopOnInterrupt interrupt;
  std::optional<OutputFile> file;  // before minutes are spent
  if (!options.out.empty()) file.emplace(options.out);
  StatusLine doing;
  const auto tell = [&](const std::string& line) {
    doing.erase();
    if (!options.json) print(line + "\n");
  };
  selftest::Events events;
  events.card = [&](const selftest::Card& card) { tell(selftest::heading_of(card)); };
  events.row = [&](const selftest::Row& row) { tell(selftest::line_of(row)); };
  events.progress = [&](const std::string& what, double share) {
    doing.show(fmt::format("{:3.0f} %  {}", share * 100, what));
  };
  const selftest::Report report = selftest::run(options.test, events, interrupt.flag());
  if (options.json) {
    print_json(selftest::to_json(report));
  } else {
    for (const selftest::Card& card : report.cards) {
      print(fmt::format("{}: {}\n", card.id, selftest::summary_of(card, report)));
    }
  }
  if (file) {
    file->write(selftest::to_json(report));
    file->finish();
  }
  if (report.interrupted) return static_cast<int>(ErrorCode::Interrupted);
  return selftest::any_failed(report) ? kSomethingFailed : 0;
}

}  // namespace

void add_selftest(Program& program) {
  auto options = std::make_shared<SelftestOptions>();
  Command& command =
      program.add_command("selftest", "Prove and measure the GPUs of this machine: for a bug report, or a new card");
  command.option("-dev,--device", &options->test.device,
                 "Only this GPU, by id or name (default: all that are not software)");
  command.option("--minutes", &options->test.minutes, "Stop then, and say what was left out", {.show_default = true});
  command.option("--only", &options->test.only, "Only checks whose name has this part; may be given several times");
  command.option("-o,--out", &options->out, "Write the report as JSON to this file");
  command.flag("--json", options->json, "Print it as JSON instead of a table");
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli
