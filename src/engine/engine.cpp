#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "backend/cpu/cpu_device.h"
#include "backend/vulkan/vulkan_device.h"
#include "base/error.h"
#include "hardware/probe.h"
#include "plan/stream.h"
#include "storage/read_queue.h"

namespace loadline::engine {
namespace {

using Clock = std::chrono::steady_clock;

// $XDG_CACHE_HOME/loadline, or ~/.cache/loadline; empty where there is neither.
std::filesystem::path user_cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::filesystem::path(cache) / "loadline";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::filesystem::path(home) / ".cache/loadline";
  return {};
}

// Adds to `bytes` what the process comes to hold of RAM while this lives.
class DriverShare {
 public:
  explicit DriverShare(Bytes& bytes) : bytes_(bytes), before_(hardware::held_memory()) {}
  ~DriverShare() {
    const Bytes now = hardware::held_memory();
    bytes_ += now - std::min(now, before_);
  }
  DriverShare(const DriverShare&) = delete;
  DriverShare& operator=(const DriverShare&) = delete;

 private:
  Bytes& bytes_;
  Bytes before_;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Engine::Engine(gguf::Model model, model::Program program, plan::Plan plan)
    : model_(std::move(model)), program_(std::move(program)), plan_(std::move(plan)), next_(plan_.shape.outputs) {}

Engine::~Engine() = default;

std::unique_ptr<Engine> Engine::load(gguf::Model model, model::Program program, plan::Plan plan,
                                     const LoadProgress& progress, const StopFlag& stop, const Hooks& hooks) {
  std::unique_ptr<Engine> engine(new Engine(std::move(model), std::move(program), std::move(plan)));
  const plan::Plan& p = engine->plan_;
  engine->pool_ = std::make_unique<ThreadPool>(static_cast<int>(p.shape.threads));
  engine->devices_.resize(p.scratch.size());
  auto owned = std::make_unique<cpu::CpuDevice>(engine->model_, engine->program_, p, *engine->pool_, stop);
  cpu::CpuDevice& cpu = *owned;
  engine->devices_[plan::kCpu] = std::move(owned);
  const auto memory = [&](plan::RegionIndex region) {
    return std::span<std::byte>(cpu.address(region), p.regions[region].size.value);
  };

  for (plan::DeviceIndex i = 1; i < p.scratch.size(); ++i) {
    if (p.scratch[i].host_staging == plan::kNoRegion) continue;  // the plan has nothing there
    vulkan::DeviceOptions options;
    options.device = p.tiers[i].device;
    options.cache_folder = user_cache_folder();
    const DriverShare share(engine->drivers_held_);
    auto gpu = std::make_unique<vulkan::VulkanDevice>(engine->model_, engine->program_, p, i, options);
    gpu->set_source(&cpu);
    engine->devices_[i] = std::move(gpu);
  }

  std::vector<backend::Device*> devices;
  for (const auto& device : engine->devices_) devices.push_back(device.get());
  if (!load_weights(engine->model_, p, devices, *engine->pool_, memory(p.load_buffer), progress, stop)) return nullptr;
  cpu.populate(stop);
  if (stop.load(std::memory_order_relaxed)) return nullptr;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    if (devices[i] == nullptr) continue;
    std::optional<DriverShare> share;
    if (i != plan::kCpu) share.emplace(engine->drivers_held_);
    devices[i]->prepare();
  }

  if (!p.stream.empty()) {
    const std::span<std::byte> buffer = memory(p.stream_buffer);
    const auto open_queue = hooks.open_queue ? hooks.open_queue : storage::open_queue;
    auto queue = open_queue(engine->model_.files, buffer, {.depth = plan::kStreamParts});
    engine->stream_ = std::make_unique<WeightStream>(engine->model_, p, cpu, buffer, std::move(queue));
    cpu.set_gate(engine->stream_.get());
  }

  std::vector<float> factors;
  if (const model::TensorIndex tensor = engine->program_.ropes.front().factors; tensor != model::kNoTensor) {
    const gguf::TensorInfo& info = engine->model_.tensors[static_cast<std::size_t>(tensor)];
    factors.resize(info.elements());
    engine->model_.files[info.file].read_at(info.offset, std::as_writable_bytes(std::span(factors)));
  }
  engine->executor_ = std::make_unique<exec::Executor>(engine->program_, p, std::move(devices), factors,
                                                       hooks.overlap_from.value_or(exec::kOverlapFrom));
  engine->verify();
  return engine;
}

// What each device holds must be what the plan says, to the page.
void Engine::verify() const {
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i] == nullptr) continue;
    Bytes planned;
    for (std::uint32_t a = 0; a < plan_.arenas.size(); ++a) {
      if (plan_.arenas[a].purpose == plan::Purpose::Runtime || plan::holder_of(plan_, a) != i) continue;
      planned += plan_.arenas[a].size;
    }
    const Bytes held = devices_[i]->allocated();
    if (held != planned) {
      throw Error(ErrorCode::Internal, fmt::format("{} holds {} bytes where the plan says {}", plan_.tiers[i].name,
                                                   held.value, planned.value));
    }
  }
}

plan::Held Engine::held() const {
  plan::Held held{hardware::held_memory(), drivers_held_, {}};
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const auto* gpu = dynamic_cast<const vulkan::VulkanDevice*>(devices_[i].get());
    if (gpu == nullptr || !gpu->context().limits().software) continue;
    const auto tier = static_cast<std::uint32_t>(i);
    held.software += plan::tier_total(plan_, tier) - plan::tier_total(plan_, tier, plan::Purpose::Runtime);
  }
  return held;
}

Engine::GpuPeaks Engine::measure_gpu(plan::DeviceIndex device) {
  auto* gpu = dynamic_cast<vulkan::VulkanDevice*>(devices_[device].get());
  if (gpu == nullptr) return {};
  const vulkan::Peaks peaks = gpu->measure();
  return {peaks.read_bandwidth, peaks.float_ops};
}

std::span<const std::byte> Engine::weights_in_ram() const {
  const auto* cpu = dynamic_cast<const cpu::CpuDevice*>(devices_[plan::kCpu].get());
  return cpu == nullptr ? std::span<const std::byte>() : cpu->weights();
}

std::vector<std::string> Engine::remarks() const {
  std::vector<std::string> all;
  for (const auto& device : devices_) {
    const auto* gpu = dynamic_cast<const vulkan::VulkanDevice*>(device.get());
    if (gpu != nullptr && !gpu->remark().empty()) all.push_back(gpu->remark());
  }
  return all;
}

bool Engine::forward(std::span<const exec::Input> inputs, const StopFlag& stop, exec::Rounding rounding) {
  if (stream_) stream_->begin_pass();
  if (executor_->forward(inputs, stop, rounding)) return true;
  if (stream_) stream_->rethrow();
  if (!stop.load(std::memory_order_relaxed)) {
    throw Error(ErrorCode::DeviceFailure, "the model's file could not be read while generating");
  }
  return false;
}

Figures Engine::generate(std::span<const Token> prompt, const GenerateOptions& options, const StopFlag& stop) {
  const std::uint32_t room = executor_->cache().room(options.sequence);
  if (prompt.size() > room) {
    throw bad_input(fmt::format("the prompt has {} tokens, but the context has room for {}", prompt.size(), room),
                    "Give more context with -c, or a shorter prompt.");
  }
  Figures figures;
  figures.ending = Ending::Stopped;
  const Bytes streamed_before = streamed_bytes();
  if (read_prompt(prompt, options, stop, figures)) generate_tokens(options, stop, figures);
  figures.streamed = streamed_bytes() - streamed_before;
  return figures;
}

// False if stopped.
bool Engine::read_prompt(std::span<const Token> prompt, const GenerateOptions& options, const StopFlag& stop,
                         Figures& figures) {
  if (options.drafter != nullptr) options.drafter->append(prompt);
  const auto start = Clock::now();
  while (figures.prompt_tokens < prompt.size()) {
    const std::size_t count = std::min<std::size_t>(plan_.shape.batch, prompt.size() - figures.prompt_tokens);
    const bool last = figures.prompt_tokens + count == prompt.size();
    const exec::Input input{options.sequence, prompt.subspan(figures.prompt_tokens, count),
                            last ? exec::Want::Last : exec::Want::None};
    const bool completed = forward({&input, 1}, stop);
    figures.prompt_seconds = seconds_since(start);
    if (!completed) return false;
    figures.prompt_tokens += count;
    if (options.on_prompt) options.on_prompt(figures.prompt_tokens, prompt.size());
  }
  return true;
}

// Each round draws from the rows of the last pass as long as its guesses prove right, and then makes the next pass: the
// last token drawn, which no row has followed yet, and guesses at what comes after it.
void Engine::generate_tokens(const GenerateOptions& options, const StopFlag& stop, Figures& figures) {
  exec::Executor& executor = *executor_;
  const auto left = [&] {
    if (options.most_tokens < 0) return std::numeric_limits<std::uint64_t>::max();
    return static_cast<std::uint64_t>(options.most_tokens) - figures.generated_tokens;
  };
  if (left() == 0) {
    figures.ending = Ending::Length;
    return;
  }
  const std::size_t most_drafts = std::min(plan_.shape.outputs, plan_.shape.batch) - 1;
  std::span<const Token> drafts;  // of the last pass
  // True when the generation goes on; `token` is then the one that the next pass begins with.
  const auto draw_rows = [&](Token& token) {
    const std::uint32_t begin = executor.cache().length(options.sequence) - static_cast<std::uint32_t>(drafts.size());
    for (std::size_t row = 0;; ++row) {
      token = options.draw(executor.logits(row));
      const bool right = row < drafts.size() && token == drafts[row];
      const bool end = options.is_end && options.is_end(token);
      if (!end) {
        ++figures.generated_tokens;
        options.on_token(token);
        if (options.drafter != nullptr) options.drafter->append(token);
      }
      const bool enough = !end && left() == 0;
      if (right && !end && !enough && !stop.load(std::memory_order_relaxed)) continue;
      figures.accepted_tokens += row;
      if (options.drafter != nullptr) options.drafter->judge(row);
      executor.truncate(options.sequence, begin + static_cast<std::uint32_t>(row));
      if (end) figures.ending = Ending::EndOfGeneration;
      if (enough) figures.ending = Ending::Length;
      if (end || enough) return false;
      if (executor.cache().room(options.sequence) > 0) return true;
      figures.ending = Ending::ContextFull;
      return false;
    }
  };
  const auto start = Clock::now();
  Token token = 0;
  while (!stop.load(std::memory_order_relaxed) && draw_rows(token)) {
    next_[0] = token;
    drafts = {};
    if (options.drafter != nullptr) {
      const std::uint64_t room = executor.cache().room(options.sequence) - 1;
      drafts = options.drafter->draft(std::min<std::uint64_t>({most_drafts, room, left() - 1}));
      std::ranges::copy(drafts, next_.begin() + 1);
    }
    const exec::Input input{
        options.sequence, {next_.data(), 1 + drafts.size()}, drafts.empty() ? exec::Want::Last : exec::Want::All};
    const bool completed = forward({&input, 1}, stop, exec::Rounding::AsAlone);
    figures.generation_seconds = seconds_since(start);
    if (!completed) return;
    ++figures.passes;
    figures.drafted_tokens += drafts.size();
  }
}

bool Engine::score(std::span<const Token> tokens, std::uint32_t sequence,
                   const std::function<void(std::span<const float>)>& row, const StopFlag& stop) {
  const std::size_t most = std::min(plan_.shape.batch, plan_.shape.outputs);
  for (std::size_t done = 0; done < tokens.size();) {
    const std::size_t count = std::min(most, tokens.size() - done);
    const exec::Input input{sequence, tokens.subspan(done, count), exec::Want::All};
    if (!forward({&input, 1}, stop)) return false;
    for (std::size_t i = 0; i < count; ++i) row(executor_->logits(i));
    done += count;
  }
  return true;
}

}  // namespace loadline::engine
