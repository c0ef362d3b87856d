// What a command with a model of its own does where the machine has less memory than the plan counted on, or a GPU is
// lost: nothing, go on by a smaller plan and by the larger one when there is room again, or end. A server's models have
// serve/guard.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/watching.h"
#include "engine/engine.h"
#include "engine/interruption.h"
#include "hardware/profile.h"
#include "plan/options.h"
#include "serve/guard.h"
#include "watch/recovery.h"

namespace loadline::cli {

// "continue", "shrink" or "stop". Throws Error(BadInput).
serve::OnPressure on_pressure_of(const std::string& text);

// Runs an engine's sessions and watches the machine meanwhile. Used by one thread. `engine` outlives it.
class Pressure {
 public:
  struct Options {
    serve::OnPressure on_pressure = serve::OnPressure::Continue;
    plan::Options plan;         // what the plan was made from, where it may be replaced ...
    hardware::Profile machine;  // ... and what for
    bool quiet = false;         // no lines
  };
  Pressure(engine::Engine& engine, Options options);

  // As Engine::run.
  void run(const backend::StopFlag& stop);
  // It ended because memory was missing.
  [[nodiscard]] bool stopped() const { return stopped_; }

  // "lost 23 % of the time to ..."; empty where nothing was lost.
  [[nodiscard]] std::string lost() const { return watching_ ? watching_->lost() : std::string(); }
  // What watching found, as JSON.
  [[nodiscard]] std::string watch_json() const { return watching_ ? watching_->json() : std::string("null"); }

  // Read from disk for passes so far.
  [[nodiscard]] Bytes streamed() const { return streamed_ + engine_.streamed_bytes(); }

  // A plan that was replaced.
  struct Change {
    std::string why;
    engine::Interruption predicted;
    double seconds = 0;  // without tokens
  };
  [[nodiscard]] const std::vector<Change>& changes() const { return changes_; }

 private:
  bool step(const backend::StopFlag& stop);
  bool look(double time, const backend::StopFlag& stop);
  bool leave_device(const backend::StopFlag& stop);
  [[nodiscard]] std::optional<plan::Plan> plan_now(bool for_room);
  bool change_to(plan::Plan plan, const std::string& why, const backend::StopFlag& stop);
  void note_catching_up();
  void tell(const std::string& line) const;

  engine::Engine& engine_;
  Options options_;
  plan::Options wished_;
  std::optional<Watching> watching_;
  watch::Recovery recovery_;
  double looked_ = 0, looked_for_room_ = 0;  // s
  bool room_ = false;
  bool stopped_ = false;
  Bytes streamed_;           // by plans before
  double change_began_ = 0;  // s; 0: nobody waits for tokens since
  std::vector<Change> changes_;
};

}  // namespace loadline::cli
