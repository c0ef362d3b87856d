#include "cli/watching.h"

#include <fmt/format.h>

#include "base/text.h"
#include "cli/line_editor.h"
#include "watch/report.h"
#include "watch/watcher.h"

namespace loadline::cli {

Watching::Watching(engine::Engine& engine, const hardware::Profile& machine, bool quiet) {
  watch::Watcher::Options options = watch::watch_engine(engine, machine);
  if (!quiet) {
    options.on_change = [](const watch::Change& change) {
      constexpr std::size_t kMostLine = 600;
      say_aside(change.begins ? printable(watch::line(change.verdict), kMostLine)
                              : fmt::format("{}: over", watch::name_of(change.verdict.kind)));
    };
  }
  watcher_ = std::make_unique<watch::Watcher>(std::move(options));
}

Watching::~Watching() = default;

std::string Watching::lost() const { return watch::lost_line(watcher_->status().losses); }

std::string Watching::missing_memory() const { return watch::missing_memory(watcher_->status()); }

std::string Watching::json() const { return watch::to_json(watcher_->status()); }

}  // namespace loadline::cli
