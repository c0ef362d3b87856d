#include "watch/watcher.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <ctime>

#include "base/clock.h"
#include "engine/backends.h"
#include "plan/costs.h"
#include "plan/predict.h"
#include "plan/rates.h"
#include "watch/pass_source.h"

namespace loadline::watch {
namespace {

constexpr std::size_t kKeptEvents = 64;

// Since the machine was started, also while it slept.
double seconds_since_start() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

Watcher::Watcher(Options options) : options_(std::move(options)), judge_(options_.promise) {
  // Here and not in the thread: whatever is needed for the first time is touched before the caller's first pass.
  take_sample();
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "watch");
    try {
      run();
    } catch (...) {  // a caller that cannot be told, or no memory: the program goes on unwatched
    }
  });
}

Watcher::~Watcher() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watcher::run() {
  auto next = std::chrono::steady_clock::now();
  while (true) {
    // After a pause no samples are made up for.
    next = std::max(next + options_.period, std::chrono::steady_clock::now());
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_until(lock, next, [this] { return ends_; })) return;
    }
    take_sample();
  }
}

void Watcher::take_sample() {
  const double began = thread_processor_seconds();
  sample_ = {};
  sample_.time = steady_seconds();
  sample_.wall_time = seconds_since_start();
  for (const auto& source : options_.sources) source->read(sample_);
  const std::vector<Change>& changes = judge_.take(sample_);
  {
    const std::lock_guard lock(mutex_);
    status_.losses = judge_.losses();
    status_.ratio = judge_.ratio();
    status_.last = sample_;
    status_.verdicts = judge_.verdicts();
    ++status_.samples;
    for (const Change& change : changes) {
      const std::uint64_t number = status_.events.empty() ? 1 : status_.events.back().number + 1;
      status_.events.push_back({number, static_cast<std::int64_t>(std::time(nullptr)), status_.samples, change});
      if (status_.events.size() > kKeptEvents) status_.events.erase(status_.events.begin());
    }
    if (status_.samples == 2) {
      for (const auto& source : options_.sources) {
        for (std::string& what : source->missing()) status_.missing.push_back(std::move(what));
      }
    }
    status_.own_seconds += thread_processor_seconds() - began;
  }
  if (!options_.on_change) return;
  for (const Change& change : changes) options_.on_change(change);
}

Status Watcher::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

namespace {

Promise promise_of(const engine::Engine& engine, const plan::Rates& rates) {
  const plan::Plan& plan = engine.plan();
  Promise promise;
  promise.assumed = !rates.assumed.empty();
  promise.streamed = plan::streamed_bytes(plan);
  promise.disk_bandwidth = rates.disk_bandwidth;
  for (plan::DeviceIndex i = 0; i < plan.scratch.size(); ++i) {
    Promise::Device device;
    device.name = plan.tiers[i].name;
    device.planned = plan::tier_total(plan, i);
    device.weights = plan::tier_total(plan, i, plan::Purpose::Weights);
    if (const backend::Device* opened = engine.device(i)) device.holds_ram = opened->holds_ram();
    if (i < rates.devices.size()) {
      device.bandwidth = rates.devices[i].bandwidth;
      device.host_bandwidth = rates.devices[i].host_bandwidth;
    }
    promise.devices.push_back(std::move(device));
  }
  return promise;
}

}  // namespace

Watcher::Options watch_engine(engine::Engine& engine, const hardware::Profile& profile) {
  const plan::Plan& plan = engine.plan();
  const plan::Rates rates = engine::rates_for(plan, profile);
  const auto costs = std::make_shared<const plan::CostModel>(engine.model(), engine.program(), plan.shape, rates);
  SourceOptions sources;
  sources.model = engine.model().files.front().path();
  for (plan::DeviceIndex i = 1; i < plan.scratch.size(); ++i) {
    const backend::Device* device = engine.device(i);
    if (device == nullptr) continue;
    sources.gpus.push_back({i, device->bus_address(), [device] { return device->memory_use(); }});
  }
  Watcher::Options options;
  options.sources = system_sources(sources);
  options.promise = promise_of(engine, rates);
  const auto predict = [&plan, costs](const plan::PassLoad& load) { return plan::pass_seconds(plan, *costs, load); };
  options.sources.push_back(pass_source(engine.executor().log(), predict, steady_seconds));
  return options;
}

}  // namespace loadline::watch
