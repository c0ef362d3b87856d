// How a service's plan is replaced by another one: what serve/service.h says of changes.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "engine/present.h"
#include "hardware/probe.h"
#include "serve/service.h"

namespace loadline::serve {

std::shared_ptr<const plan::Plan> Service::plan() const {
  const std::lock_guard lock(mutex_);
  return plan_;
}

std::shared_ptr<const Basis> Service::basis() const {
  const std::lock_guard lock(mutex_);
  return basis_;
}

void Service::publish_plan(std::shared_ptr<const Basis> basis) {
  auto plan = std::make_shared<const plan::Plan>(engine_->plan());
  context_ = plan->shape.context;
  places_ = plan->shape.sequences;
  if (basis->requests) {
    const RequestMemory memory = request_memory(*basis->requests);
    most_running_ = memory.running.value;
    most_queued_ = memory.waiting.value;
  }
  const std::lock_guard lock(mutex_);
  plan_ = std::move(plan);
  basis_ = std::move(basis);
}

void count_requests(Basis& basis, std::uint32_t trained) {
  if (!basis.requests) return;
  const plan::Options& options = basis.options;
  RequestLimits& limits = *basis.requests;
  limits.places = options.sequences;
  limits.context =
      options.trained_context || options.largest_context ? trained : options.context.value_or(limits.context);
  const RequestMemory memory = request_memory(limits);
  basis.options.of_requests = basis.alone ? memory.total() : memory.own();
}

Bytes Service::held() const { return hardware::held_memory(); }

Bytes Service::streamed() const {
  const std::shared_lock lock(engine_mutex_, std::try_to_lock);
  const Bytes now = lock ? engine_->streamed_bytes() : Bytes();
  const std::lock_guard guard(mutex_);
  return streamed_ + now;
}

void Service::look_at(hardware::Profile& machine) const {
  const std::shared_lock lock(engine_mutex_, std::try_to_lock);
  engine::look_at(machine, lock ? engine_.get() : nullptr);
}

std::vector<Service::TierNow> Service::memory_now(Bytes available) const {
  std::vector<TierNow> out(1);
  out[0] = {held(), available.value > 0 ? available : hardware::probe_ram().available};
  const std::shared_lock lock(engine_mutex_, std::try_to_lock);
  if (!lock) return out;
  const plan::Plan& plan = engine_->plan();
  out.resize(std::max<std::size_t>(plan.scratch.size(), 1));
  for (plan::DeviceIndex i = 1; i < plan.scratch.size(); ++i) {
    const backend::Device* device = engine_->device(i);
    if (device == nullptr) continue;
    if (const auto use = device->memory_use()) out[i] = {use->used, use->budget};
  }
  return out;
}

bool Service::change(Change change) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || wanted_change_ || totals_.changing || !totals_.broken.empty()) return false;
    stop_change_ = false;
    loaded_ = 0;
    to_load_ = 0;
    wanted_change_ = std::move(change);
  }
  engine_->scheduler().wake();
  return true;
}

void Service::cancel_change() { stop_change_ = true; }

// False, with a sentence, where it cannot be loaded; without one where it was cancelled.
bool Service::load_plan(const plan::Plan& plan, std::string& error) {
  const auto progress = [this](Bytes done, Bytes total) {
    to_load_ = total.value;
    loaded_ = done.value;
  };
  try {
    return engine_->replan(plan, progress, stop_change_);
  } catch (const std::exception& problem) {
    error = problem.what();
    return false;
  }
}

// Why it cannot be in the place of the present one while generations run; empty where it can.
std::string Service::why_not(const plan::Plan& plan) const {
  const std::lock_guard lock(mutex_);
  if (stopping_) return "the server stops";
  if (plan.shape.sequences == plan_->shape.sequences || running_.empty()) return {};
  return fmt::format("{} answers are under way, and the number of sequences cannot be changed under them",
                     running_.size());
}

Changed Service::replace(Change& change) {
  Changed out;
  out.why = std::move(change.why);
  out.error = why_not(change.to.plan);
  if (!out.error.empty()) return out;
  out.predicted = engine::predict_interruption(*engine_, change.to.plan, basis()->machine);
  change_began_ = steady_seconds();
  const plan::Plan before = engine_->plan();
  std::string broken;
  std::shared_ptr<const Basis> basis = change.to.basis;
  {
    const std::unique_lock lock(engine_mutex_);
    {
      const std::lock_guard guard(mutex_);
      streamed_ += engine_->streamed_bytes();
    }
    if (!load_plan(change.to.plan, out.error)) {
      out.cancelled = out.error.empty();
      if (out.cancelled) out.error = "loading was cancelled";
      basis = this->basis();
      {
        const std::lock_guard guard(mutex_);
        stop_change_ = stopping_;
      }
      if (!load_plan(before, broken) && broken.empty()) broken = "loading was stopped";
    }
  }
  out.load_seconds = steady_seconds() - change_began_;
  if (broken.empty()) {
    publish_plan(std::move(basis));
  } else {
    engine_->scheduler().abandon(fmt::format("the model could not be loaded again: {}", broken));
  }
  const std::lock_guard lock(mutex_);
  totals_.broken = broken;
  return out;
}

void Service::show_engine(bool there) {
  if (!options_.on_engine) return;
  {
    const std::lock_guard lock(mutex_);
    if (!totals_.broken.empty()) there = false;
  }
  options_.on_engine(there ? engine_.get() : nullptr, *basis());
}

void Service::carry_out_change() {
  std::optional<Change> change;
  {
    const std::lock_guard lock(mutex_);
    if (!wanted_change_) return;
    change = std::move(wanted_change_);
    wanted_change_.reset();
    totals_.changing = true;
  }
  show_engine(false);
  const Changed changed = replace(*change);
  {
    const std::lock_guard lock(mutex_);
    totals_.changing = false;
    ++totals_.changes;
    totals_.last_change = changed;
    totals_.interrupted_seconds = changed.load_seconds;
  }
  show_engine(true);
  if (change->done) change->done(changed);
  check();
}

// The interruption is over where everyone who generated has a token again.
void Service::note_catching_up() {
  if (change_began_ == 0 || engine_->scheduler().catching_up() > 0) return;
  const double seconds = steady_seconds() - std::exchange(change_began_, 0);
  {
    const std::lock_guard lock(mutex_);
    totals_.interrupted_seconds = seconds;
  }
  tell_interruption();
}

void Service::tell_interruption() {
  if (!options_.log) return;
  const Load now = load();
  const Changed& last = now.last_change;
  const std::string what = now.broken.empty() ? last.error.empty() ? "changed" : "kept" : "lost";
  options_.log(fmt::format("plan {} ({}){}: {}", what, last.why,
                           last.error.empty() ? "" : fmt::format(", since {}", last.error),
                           engine::words_of(last.predicted, now.interrupted_seconds)));
}

// One pass. True where there is more to do.
bool Service::step() {
  {
    const std::lock_guard lock(mutex_);
    if (!totals_.broken.empty()) return false;
  }
  try {
    return engine_->scheduler().step();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::DeviceFailure) leave_device(error);
  } catch (const std::exception&) {  // its sessions were told; the others go on
  }
  return true;
}

// A device failed, and the sessions of the pass are as they were before: they go on without it, or fail.
void Service::leave_device(const Error& error) {
  const auto device = engine_->executor().failed_device();
  std::optional<Proposal> plan;
  try {
    if (device && *device != plan::kCpu && options_.without_device) plan = options_.without_device(*device);
  } catch (const std::exception&) {  // there is no such plan
  }
  if (!plan) return engine_->scheduler().fail_pass(std::make_exception_ptr(error));
  const std::lock_guard lock(mutex_);
  stop_change_ = stopping_;
  wanted_change_ = Change{std::move(*plan), error.what(), {}};
}

}  // namespace loadline::serve
