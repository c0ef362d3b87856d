#include "cli/pressure.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "engine/present.h"

namespace loadline::cli {
namespace {

constexpr double kFromLookToLook = 0.5;   // s, from one look at the verdicts to the next
constexpr double kLookForRoom = 5;        // s: drivers are asked, and a plan is made
constexpr double kWorthChanging = 1.05;   // predicted speed, that an interruption is worth
constexpr Bytes kLeftOfRoom = 64 * kMiB;  // of what is free, beyond what the larger plan takes
constexpr std::size_t kLongestLine = 600;

}  // namespace

serve::OnPressure on_pressure_of(const std::string& text) {
  using serve::OnPressure;
  if (text == "continue") return OnPressure::Continue;
  if (text == "shrink") return OnPressure::Shrink;
  if (text == "stop") return OnPressure::Stop;
  throw bad_input(fmt::format("--on-pressure is \"{}\"", printable(text)), "It can be continue, shrink or stop.");
}

Pressure::Pressure(engine::Engine& engine, Options options) : engine_(engine), options_(std::move(options)) {
  const plan::Shape& shape = engine.plan().shape;
  options_.plan.context = shape.context;  // what there is stays, whatever is free
  options_.plan.trained_context = options_.plan.largest_context = false;
  options_.plan.sequences = shape.sequences;
  options_.plan.outputs = shape.outputs;
  wished_ = options_.plan;
  watching_.emplace(engine_, options_.machine, options_.quiet);
}

void Pressure::tell(const std::string& line) const {
  if (options_.quiet) return;
  // On a terminal the answer's line may be half written.
  say((stderr_is_terminal() && stdout_is_terminal() ? "\n" : "") + printable(line, kLongestLine));
}

void Pressure::run(const backend::StopFlag& stop) {
  if (!engine_.is_loaded()) {  // a change was stopped
    const plan::Plan plan = engine_.plan();
    if (engine_.replan(plan, {}, stop)) watching_.emplace(engine_, options_.machine, options_.quiet);
  }
  while (!stop.load(std::memory_order_relaxed) && step(stop)) {
    note_catching_up();
    if (options_.on_pressure == serve::OnPressure::Continue) continue;
    const double now = steady_seconds();
    if (now - looked_ < kFromLookToLook) continue;
    looked_ = now;
    if (!look(now, stop)) break;
  }
  exec::Scheduler& scheduler = engine_.scheduler();
  scheduler.cancel_all();
  while (scheduler.step()) {
  }
  if (engine_.is_loaded()) engine_.verify();
}

// One pass. False where there is no session left.
bool Pressure::step(const backend::StopFlag& stop) {
  try {
    return engine_.scheduler().step(&stop);
  } catch (const Error& error) {
    const bool may_go_on =
        options_.on_pressure == serve::OnPressure::Shrink && error.code() == ErrorCode::DeviceFailure;
    if (!may_go_on) throw;
    tell(error.what());
    if (!leave_device(stop)) throw;
    return true;
  }
}

// What failed is left out of the machine from now on. False where it was no GPU, or nothing fits without it.
bool Pressure::leave_device(const backend::StopFlag& stop) {
  const auto device = engine_.executor().failed_device();
  if (!device || *device == plan::kCpu) return false;
  const std::string id = engine_.plan().tiers.at(*device).device;
  std::erase_if(options_.machine.gpus, [&](const hardware::Gpu& gpu) { return gpu.id == id; });
  wished_.gpu_budgets.clear();  // they are by number, and the numbers change
  if (options_.machine.gpus.empty()) wished_.gpu_layers = {};
  std::optional<plan::Plan> plan = plan_now(false);
  return plan && change_to(std::move(*plan), "a GPU was lost", stop);
}

// The plan that fits what is free now; nullopt where there is none.
std::optional<plan::Plan> Pressure::plan_now(bool for_room) {
  engine::look_at(options_.machine, &engine_);
  hardware::Profile machine = options_.machine;
  if (for_room) {
    machine.ram.available -= std::min(machine.ram.available, kLeftOfRoom);
    for (hardware::Gpu& gpu : machine.gpus) gpu.free -= std::min(gpu.free, kLeftOfRoom);
  }
  plan::Options wanted = wished_;
  plan::Attempt attempt = engine::plan_again(engine_, machine, wanted);
  if (!attempt.fits || engine::same_places(attempt.plan, engine_.plan())) return std::nullopt;
  return std::move(attempt.plan);
}

// False where it is to end.
bool Pressure::look(double time, const backend::StopFlag& stop) {
  const std::string trouble = watching_ ? watching_->missing_memory() : std::string();
  if (recovery_.shrunk() && time - looked_for_room_ >= kLookForRoom) {
    looked_for_room_ = time;
    const auto larger = plan_now(true);
    room_ = larger && larger->prediction.generation_rate > kWorthChanging * engine_.plan().prediction.generation_rate;
  }
  switch (recovery_.take(time, !trouble.empty(), room_)) {
    case watch::Recovery::Advice::Nothing: return true;
    case watch::Recovery::Advice::Shrink:
      if (options_.on_pressure == serve::OnPressure::Stop) {
        tell(fmt::format("stopping: {}", trouble));
        stopped_ = true;
        return false;
      }
      if (auto smaller = plan_now(false)) return change_to(std::move(*smaller), trouble, stop);
      tell("no smaller plan fits what is free now; the present one goes on");
      recovery_.refused(time);
      return true;
    case watch::Recovery::Advice::Grow:
      if (auto larger = plan_now(true)) return change_to(std::move(*larger), "there is room again", stop);
      recovery_.refused(time);
  }
  return true;
}

// False where it was stopped. Where the new plan cannot be loaded the old one is, and goes on.
bool Pressure::change_to(plan::Plan plan, const std::string& why, const backend::StopFlag& stop) {
  Change change{why, engine::predict_interruption(engine_, plan, options_.machine), 0};
  const plan::Plan before = engine_.plan();
  watching_.reset();  // it reads what goes now
  streamed_ += engine_.streamed_bytes();
  room_ = false;
  change_began_ = steady_seconds();
  bool loaded = false;
  bool old_again = false;
  try {
    loaded = engine_.replan(std::move(plan), {}, stop);
  } catch (const Error& error) {
    tell(fmt::format("the old plan goes on: {}", error.what()));
    old_again = true;
    loaded = engine_.replan(before, {}, stop);
  }
  if (!loaded) return false;
  watching_.emplace(engine_, options_.machine, options_.quiet);
  old_again ? recovery_.refused(steady_seconds()) : recovery_.done(steady_seconds());
  if (!old_again) changes_.push_back(std::move(change));
  return true;
}

// The interruption is over where everyone who generated has a token again.
void Pressure::note_catching_up() {
  if (change_began_ == 0 || engine_.scheduler().catching_up() > 0) return;
  const double seconds = steady_seconds() - std::exchange(change_began_, 0);
  if (changes_.empty()) return;
  Change& last = changes_.back();
  last.seconds = seconds;
  tell(fmt::format("plan changed ({}): {}", last.why, engine::words_of(last.predicted, seconds)));
}

}  // namespace loadline::cli
