#include "cli/watching.h"

#include <fmt/format.h>

#include "base/text.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "watch/report.h"
#include "watch/watcher.h"

namespace loadline::cli {

Watching::Watching(engine::Engine& engine, const hardware::Profile& machine, bool quiet) {
  watch::Watcher::Options options = watch::watch_engine(engine, machine);
  if (!quiet) {
    // On a terminal the answer's line may be half written.
    const std::string begin = stderr_is_terminal() && stdout_is_terminal() ? "\n" : "";
    options.on_change = [begin](const watch::Change& change) {
      constexpr std::size_t kMostLine = 600;
      say(begin + (change.begins ? printable(watch::line(change.verdict), kMostLine)
                                 : fmt::format("{}: over", watch::name_of(change.verdict.kind))));
    };
  }
  watcher_ = std::make_unique<watch::Watcher>(std::move(options));
}

Watching::~Watching() = default;

std::string Watching::lost() const { return watch::lost_line(watcher_->status().losses); }

std::string Watching::missing_memory() const { return watch::missing_memory(watcher_->status()); }

std::string Watching::json() const { return watch::to_json(watcher_->status()); }

}  // namespace loadline::cli
