// What a command tells of the machine while a model runs: a line when something is wrong, and at the end what it cost.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "hardware/profile.h"

namespace loadline::watch {
class Watcher;
}

namespace loadline::cli {

// Watches from its construction on, in a thread of its own. `engine` outlives it.
class Watching {
 public:
  // `quiet`: no lines.
  Watching(engine::Engine& engine, const hardware::Profile& machine, bool quiet);
  ~Watching();
  Watching(const Watching&) = delete;
  Watching& operator=(const Watching&) = delete;

  // "lost 23 % of the time to ..."; empty where nothing was lost.
  [[nodiscard]] std::string lost() const;
  // What says that the plan's memory is not there, in a clause; empty: nothing does.
  [[nodiscard]] std::string missing_memory() const;
  // Everything that was found, as JSON.
  [[nodiscard]] std::string json() const;

 private:
  std::unique_ptr<watch::Watcher> watcher_;
};

}  // namespace loadline::cli
