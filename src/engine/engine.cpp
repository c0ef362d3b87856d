#include "engine/engine.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "engine/interruption.h"
#include "engine/kept_caches.h"
#include "engine/kept_gpus.h"
#include "engine/kept_weights.h"
#include "hardware/probe.h"
#include "plan/stream.h"
#include "storage/read_queue.h"

namespace loadline::engine {

// What of the plan before stays.
struct Engine::Kept {
  KeptWeights weights;
  cpu::KeptArenas arenas;
  KeptGpus gpus;
  std::optional<exec::KvCache> cache;  // where all caches do
};

Engine::Engine(gguf::Model model, model::Program program, plan::Plan plan, Options options)
    : model_(std::move(model)),
      program_(std::move(program)),
      plan_(std::move(plan)),
      options_(std::move(options)),
      pool_(std::make_unique<ThreadPool>(static_cast<int>(plan_.shape.threads))) {
  if (!options_.open_queue) options_.open_queue = storage::open_queue;
  if (!options_.held_memory) options_.held_memory = [] { return hardware::held_memory(); };
  if (!options_.allocated) options_.allocated = [](const backend::Device& device) { return device.allocated(); };
}

Engine::~Engine() = default;

std::unique_ptr<Engine> Engine::load(gguf::Model model, model::Program program, plan::Plan plan,
                                     const LoadProgress& progress, const StopFlag& stop, Options options) {
  std::unique_ptr<Engine> engine(new Engine(std::move(model), std::move(program), std::move(plan), std::move(options)));
  Engine& e = *engine;
  if (!e.open(progress, stop, {})) return nullptr;
  e.scheduler_ = std::make_unique<exec::Scheduler>(*e.executor_, e.options_.scheduler);
  e.verify();
  return engine;
}

// False if stopped.
bool Engine::open(const LoadProgress& progress, const StopFlag& stop, Kept kept) {
  load_figures_ = {};
  load_figures_.kept = kept.weights.bytes();
  if (kept.cache) load_figures_.caches = plan::devices_total(plan_, plan::Purpose::KvCache);
  load_figures_.from_disk = bytes_from_disk(model_, plan_, kept.weights);
  const double begin = steady_seconds();
  devices_ =
      make_devices(model_, program_, plan_, *pool_, stop, gpu_costs_, std::move(kept.arenas), std::move(kept.gpus));
  const double made = steady_seconds();
  if (!load_weights(kept.weights, progress, stop)) return false;
  const double read = steady_seconds();
  for (const auto& device : devices_) {
    if (device != nullptr) device->populate(stop);
  }
  if (stop.load(std::memory_order_relaxed)) return false;
  const double filled = steady_seconds();
  prepare_devices(devices_, gpu_costs_);
  open_stream();
  std::vector<backend::Device*> devices;
  for (const auto& device : devices_) devices.push_back(device.get());
  executor_ =
      std::make_unique<exec::Executor>(program_, plan_, std::move(devices), rope_factors(), stream_.get(),
                                       options_.overlap_from.value_or(exec::kOverlapFrom), std::move(kept.cache));
  load_figures_.reading = read - made;
  load_figures_.filling = filled - read;
  load_figures_.opening = steady_seconds() - begin - (filled - made);
  load_figures_.gpus = gpu_costs_.seconds;
  load_figures_.gpus_once = gpu_costs_.once;
  return true;
}

void Engine::give_up() {
  executor_.reset();
  stream_.reset();
  devices_.clear();
  malloc_trim(0);  // what was allocated for it beside the arenas
}

// Puts down what runs, and takes from the devices what another plan has too.
Engine::Kept Engine::take(const plan::Plan& to) {
  Kept kept;
  const auto failed = executor_->failed_device();
  const bool caches = caches_stay(program_, plan_, to, failed);
  tokens_again_ = scheduler_->put_down();
  if (caches) kept.cache = executor_->give_cache();
  executor_.reset();
  stream_.reset();
  kept.weights = kept_weights(plan_, to, failed);
  kept.arenas = take_arenas(devices_, kept.weights, caches);
  kept.gpus = take_gpus(devices_, plan_, to, kept.weights.gpus, failed, caches);
  return kept;
}

// Once the devices are gone: brings what was taken to where the new plan has it. Caches that cannot be moved are lost.
void Engine::hand_over(const plan::Plan& to, Kept& kept) {
  move_weights(kept.arenas.weights, plan_, to, kept.weights);
  try {
    keep_weights(plan_, to, kept.weights.gpus, kept.gpus);
    if (kept.cache) {
      open_gpus(to, kept.gpus, gpu_costs_);
      move_caches(program_, plan_, to, *kept.cache, kept.arenas.caches, kept.gpus);
    }
    for (plan::DeviceIndex i = 0; i < kept.gpus.size(); ++i) {
      if (!uses_gpu(to, i)) kept.gpus[i].close();
    }
    malloc_trim(0);
  } catch (const Error&) {
    kept.cache.reset();
    kept.arenas.caches = {};
    for (vulkan::KeptGpu& gpu : kept.gpus) gpu.close();
    kept.weights.forget_gpus();
  }
}

bool Engine::replan(plan::Plan plan, const LoadProgress& progress, const StopFlag& stop) {
  const double begin = steady_seconds();
  Kept kept;
  if (executor_ != nullptr) kept = take(plan);
  give_up();
  // What drivers took stays with the process though they are opened again.
  const Bytes held_before = std::exchange(gpu_costs_, GpuCosts()).held;
  hand_over(plan, kept);
  const bool caches_kept = kept.cache.has_value();
  const double opened = gpu_costs_.seconds;  // GPUs, on the way
  if (plan.shape.threads != plan_.shape.threads) {
    pool_ = std::make_unique<ThreadPool>(static_cast<int>(plan.shape.threads));
  }
  plan_ = std::move(plan);
  const double given_up = steady_seconds();
  try {
    if (!open(progress, stop, std::move(kept))) {
      give_up();
      gpu_costs_.held = held_before;
      return false;
    }
  } catch (...) {
    give_up();
    gpu_costs_.held = held_before;
    throw;
  }
  gpu_costs_.held = std::max(gpu_costs_.held, held_before);
  load_figures_.giving_up = given_up - begin - opened;
  load_figures_.opening += opened;
  if (caches_kept) tokens_again_ = 0;
  scheduler_->take_up(*executor_, caches_kept);
  return true;
}

// False if stopped.
bool Engine::load_weights(const KeptWeights& kept, const LoadProgress& progress, const StopFlag& stop) {
  std::vector<backend::Device*> devices;
  for (const auto& device : devices_) devices.push_back(device.get());
  const std::span<std::byte> buffer = devices_[plan::kCpu]->host_memory(plan_.load_buffer);
  std::vector<UploadFigures> uploads;
  if (!engine::load_weights(model_, plan_, kept.there(), devices, *pool_, buffer, progress, stop, uploads))
    return false;
  constexpr Bytes kEnough = 16 * kMiB;
  for (std::size_t tier = 0; tier < uploads.size(); ++tier) {
    load_figures_.weights += uploads[tier].bytes;
    if (uploads[tier].bytes >= kEnough) upload_figures_[plan_.tiers[tier].device] = uploads[tier];
  }
  return true;
}

void Engine::open_stream() {
  if (plan_.stream.empty()) return;
  backend::Device& cpu = *devices_[plan::kCpu];
  const std::span<std::byte> buffer = cpu.host_memory(plan_.stream_buffer);
  auto queue = options_.open_queue(model_.files, buffer, {.depth = plan::kStreamParts});
  stream_ = std::make_unique<WeightStream>(model_, plan_, cpu, buffer, std::move(queue));
  cpu.set_gate(stream_.get());
}

std::vector<std::vector<float>> Engine::rope_factors() const {
  std::vector<std::vector<float>> all;
  for (const model::RopeTable& table : program_.ropes) {
    std::vector<float>& factors = all.emplace_back();
    const model::TensorIndex tensor = table.factors_for(plan_.shape.context);
    if (tensor == model::kNoTensor) continue;
    const gguf::TensorInfo& info = model_.tensors[static_cast<std::size_t>(tensor)];
    factors.resize(info.elements());
    model_.files[info.file].read_at(info.offset, std::as_writable_bytes(std::span(factors)));
  }
  return all;
}

void Engine::run(const StopFlag& stop) {
  while (!stop.load(std::memory_order_relaxed) && scheduler_->step(&stop)) {
  }
  scheduler_->cancel_all();
  while (scheduler_->step()) {
  }
  verify();
}

void Engine::verify() const {
  verify_devices();
  if (options_.alone && plan::why_not_verified(plan_).empty()) plan::require_held(plan_, held());
}

// What each device holds must be what the plan says, to the page.
void Engine::verify_devices() const {
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i] == nullptr) continue;
    Bytes planned;
    for (std::uint32_t a = 0; a < plan_.arenas.size(); ++a) {
      if (plan_.arenas[a].purpose == plan::Purpose::Runtime || plan::holder_of(plan_, a) != i) continue;
      planned += plan_.arenas[a].size;
    }
    const Bytes held = options_.allocated(*devices_[i]);
    if (held != planned) {
      throw Error(ErrorCode::Internal,
                  fmt::format("{} holds {} bytes of weights, KV cache, scratch and staging where the plan says {}",
                              plan_.tiers[i].name, held.value, planned.value));
    }
  }
}

plan::Held Engine::held() const {
  const Bytes process = options_.held_memory();
  plan::Held held{process - std::min(process, options_.of_caller), gpu_costs_.held, {}};
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i] == nullptr || !devices_[i]->holds_ram()) continue;
    const auto tier = static_cast<std::uint32_t>(i);
    held.software += plan::tier_total(plan_, tier) - plan::tier_total(plan_, tier, plan::Purpose::Runtime);
  }
  return held;
}

backend::Peaks Engine::measure(plan::DeviceIndex device) {
  return devices_.at(device) == nullptr ? backend::Peaks{} : devices_[device]->measure();
}

std::span<std::byte> Engine::host_memory(plan::RegionIndex region) {
  for (const auto& device : devices_) {
    if (device == nullptr) continue;
    const std::span<std::byte> memory = device->host_memory(region);
    if (!memory.empty()) return memory;
  }
  return {};
}

std::span<const std::byte> Engine::weights_in_ram() const { return devices_[plan::kCpu]->weights(); }

std::vector<std::string> Engine::remarks() const {
  std::vector<std::string> all = program_.remarks;
  for (const auto& device : devices_) {
    if (device == nullptr) continue;
    if (std::string remark = device->remark(); !remark.empty()) all.push_back(std::move(remark));
  }
  return all;
}

}  // namespace loadline::engine
