#include "serve/guard.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/clock.h"
#include "engine/present.h"

namespace loadline::serve {
namespace {

constexpr double kLookForRoom = 5;    // s: drivers are asked, and a plan is made
constexpr double kWorthIt = 1.05;     // predicted speed, that an interruption is worth
constexpr Bytes kMargin = 64 * kMiB;  // of what is free, beyond what the larger plan takes

}  // namespace

Basis basis_now(const Service& service, const Basis& wished) {
  Basis basis = wished;
  service.look_at(basis.machine);
  const auto plan = service.plan();
  basis.options.context = plan->shape.context;
  basis.options.trained_context = basis.options.largest_context = false;
  basis.options.sequences = plan->shape.sequences;
  return basis;
}

Guard::Guard(Service& service, std::function<void(Basis&)> leave_to_others, GuardOptions options)
    : service_(service),
      leave_to_others_(std::move(leave_to_others)),
      options_(std::move(options)),
      recovery_(options_.times),
      wished_(service.basis()) {
  thread_ = std::thread([this] { run(); });
}

Guard::~Guard() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Guard::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, std::chrono::duration<double>(options_.period), [&] { return ends_; })) return;
    }
    try {
      look(steady_seconds());
    } catch (const std::exception& error) {  // a plan that cannot be made: the present one goes on
      recovery_.refused(steady_seconds());
    }
  }
}

void Guard::look(double time) {
  if (const auto basis = service_.basis(); basis != wished_ && basis != mine_) {
    wished_ = basis;
    recovery_.reset();
  }
  const std::string trouble = options_.trouble();
  if (recovery_.shrunk() && time - looked_for_room_ >= kLookForRoom) {
    looked_for_room_ = time;
    room_ = false;
    Basis basis = basis_now(service_, *wished_);
    if (leave_to_others_) leave_to_others_(basis);
    basis.machine.ram.available -= std::min(basis.machine.ram.available, kMargin);
    for (hardware::Gpu& gpu : basis.machine.gpus) gpu.free -= std::min(gpu.free, kMargin);
    const plan::Attempt attempt = engine::plan_again(service_.engine(), basis.machine, basis.options);
    room_ = attempt.fits &&
            attempt.plan.prediction.generation_rate > kWorthIt * service_.plan()->prediction.generation_rate;
  }
  switch (recovery_.take(time, !trouble.empty(), room_)) {
    case watch::Recovery::Advice::Nothing: return;
    case watch::Recovery::Advice::Shrink:
      if (options_.on_pressure == OnPressure::Stop) {
        if (options_.log) options_.log(fmt::format("stopping: {}", trouble));
        recovery_.done(time);
        return options_.stop ? options_.stop() : void();
      }
      if (change_to_what_fits(trouble, false)) return;
      if (options_.log) options_.log("no smaller plan fits what is free now; the present one goes on");
      return recovery_.refused(time);
    case watch::Recovery::Advice::Grow:
      if (!change_to_what_fits("there is room again", true)) recovery_.refused(time);
  }
}

// False where there is no such plan, or it is the present one. What comes of it is waited for.
bool Guard::change_to_what_fits(const std::string& why, bool only_if_faster) {
  Basis whole = basis_now(service_, *wished_);
  Basis left = whole;
  if (leave_to_others_) leave_to_others_(left);
  plan::Attempt attempt = engine::plan_again(service_.engine(), left.machine, left.options);
  if (!attempt.fits) return false;
  whole.options.gpu_layers = left.options.gpu_layers;
  whole.options.overrides = left.options.overrides;
  const auto present = service_.plan();
  const bool faster = attempt.plan.prediction.generation_rate > present->prediction.generation_rate;
  if (engine::same_places(*present, attempt.plan) || (only_if_faster && !faster)) return false;
  struct Waited {
    std::mutex mutex;
    std::condition_variable changed;
    bool over = false, done = false;
  };
  const auto outcome = std::make_shared<Waited>();
  mine_ = std::make_shared<const Basis>(std::move(whole));
  const auto told = [outcome](const Changed& changed) {
    {
      const std::lock_guard lock(outcome->mutex);
      outcome->over = true;
      outcome->done = changed.error.empty();
    }
    outcome->changed.notify_all();
  };
  if (!service_.change({{std::move(attempt.plan), mine_}, why, told})) return false;
  for (;;) {
    std::unique_lock lock(outcome->mutex);
    if (outcome->changed.wait_for(lock, std::chrono::milliseconds(100), [&] { return outcome->over; })) break;
    const std::lock_guard guard(mutex_);
    if (ends_) return true;
  }
  const std::lock_guard lock(outcome->mutex);
  outcome->done ? recovery_.done(steady_seconds()) : recovery_.refused(steady_seconds());
  return true;
}

}  // namespace loadline::serve
