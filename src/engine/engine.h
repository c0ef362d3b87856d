// The facade: a model loaded as its plan says, and the scheduler that runs its sessions. It holds itself to the plan:
// what is held is compared with what was planned after loading and after the last pass.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/device.h"
#include "base/thread_pool.h"
#include "engine/devices.h"
#include "engine/loader.h"
#include "engine/weight_stream.h"
#include "exec/executor.h"
#include "exec/scheduler.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"
#include "plan/refusal.h"

namespace loadline::engine {

using backend::StopFlag;
using exec::Token;
struct KeptWeights;

// Owns everything a loaded model is: files, plan, memory, threads, KV cache. Used by one thread but for what says
// otherwise (exec::Scheduler, a StopFlag). A process may have several.
class Engine {
 public:
  struct Options {
    // Whether the process must hold no more of RAM than this plan says, as a command's must. With several models in one
    // process its owner compares the sum.
    bool alone = true;
    // What the caller holds that no plan knows: a prompt of whatever length, and what cutting it into tokens took.
    Bytes of_caller;
    exec::SchedulerOptions scheduler;

    // What tests put between the engine and the system. Empty: nothing.
    std::function<decltype(storage::open_queue)> open_queue;
    std::function<Bytes()> held_memory;                      // hardware::held_memory
    std::function<Bytes(const backend::Device&)> allocated;  // Device::allocated
    std::optional<std::uint32_t> overlap_from;               // exec::kOverlapFrom
  };

  // Allocates exactly the plan's arenas, loads, and verifies (see `verify`). Throws Error; null if stopped while
  // loading.
  static std::unique_ptr<Engine> load(gguf::Model model, model::Program program, plan::Plan plan,
                                      const LoadProgress& progress, const StopFlag& stop, Options options);
  static std::unique_ptr<Engine> load(gguf::Model model, model::Program program, plan::Plan plan,
                                      const LoadProgress& progress, const StopFlag& stop) {
    return load(std::move(model), std::move(program), std::move(plan), progress, stop, Options{});
  }
  ~Engine();

  // Gives up what the present plan holds and loads by another one of the same model, for as many sequences, under the
  // sessions that there are. Weights that stay where they are (kept_weights.h) are not read again. Where all caches
  // stay or can be moved (kept_caches.h), sessions go on where they were, else their texts are kept and computed again.
  // Between steps, by the thread that makes them. At no time is more held than the larger of the two plans says, on any
  // tier. False where it was stopped; where that happens, and where it throws what loading throws, nothing is loaded:
  // another `replan` may follow, or Scheduler::abandon.
  bool replan(plan::Plan plan, const LoadProgress& progress, const StopFlag& stop);
  // What the last loading took.
  struct LoadFigures {
    Bytes weights;         // that were read
    Bytes from_disk;       // of them, not in the page cache
    Bytes kept;            // that were there already
    Bytes caches;          // that were kept, with what they hold
    double giving_up = 0;  // s: what the plan before held, and moving what is kept
    double opening = 0;    // s: devices and what they record ...
    double gpus = 0;       // s: ... of which GPUs ...
    double gpus_once = 0;  // s: ... and of that drivers and shaders, which a GPU that stays open does not need again
    double reading = 0;    // s: weights
    double filling = 0;    // s: bringing in the memory of caches
  };
  [[nodiscard]] const LoadFigures& load_figures() const { return load_figures_; }
  // Of the last loading that laid out enough on the device of that name ("": the CPU) to tell its speed; null where
  // none did.
  [[nodiscard]] const UploadFigures* upload_figures(const std::string& device) const {
    const auto found = upload_figures_.find(device);
    return found == upload_figures_.end() ? nullptr : &found->second;
  }
  // How much longer passes of few and of many tokens took on the device of that name than was predicted, when it last
  // did some; 0 where none were seen. Kept over plans that leave the device out (interruption.cpp).
  struct Slowness {
    double few = 0, many = 0;
  };
  [[nodiscard]] Slowness& slowness(const std::string& device) { return slowness_[device]; }
  // Tokens that the last `replan` has computed again, or has still to. None where caches stayed.
  [[nodiscard]] std::uint64_t tokens_again() const { return tokens_again_; }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // False after a `replan` that did not come to its end.
  [[nodiscard]] bool is_loaded() const { return executor_ != nullptr; }
  [[nodiscard]] const gguf::Model& model() const { return model_; }
  [[nodiscard]] const model::Program& program() const { return program_; }
  [[nodiscard]] const plan::Plan& plan() const { return plan_; }
  [[nodiscard]] exec::Executor& executor() { return *executor_; }
  // Null where the plan does not use it.
  [[nodiscard]] const backend::Device* device(plan::DeviceIndex device) const { return devices_.at(device).get(); }
  // Its sessions.
  [[nodiscard]] exec::Scheduler& scheduler() { return *scheduler_; }

  // Steps until there is no session left, and verifies. Where `stop` is set, which ends the running pass, all sessions
  // are ended.
  void run(const StopFlag& stop);

  // Compares what every device and the process hold, by the system's own account, with the plan. Throws Error(Internal)
  // naming the row and both numbers, and Error(DoesNotFit) where a GPU's driver took more RAM than the budget holds.
  // That of the process is left out where Options say so, and where why_not_verified has a reason.
  void verify() const;

  // What a device can do at most, measured now; zeros where it does not say, or the plan does not use it.
  backend::Peaks measure(plan::DeviceIndex device);
  // Where the host may write to a region of the plan; empty where it may not.
  [[nodiscard]] std::span<std::byte> host_memory(plan::RegionIndex region);
  // The memory that the CPU reads weights from, to measure how fast it can be read; empty where there is none.
  [[nodiscard]] std::span<const std::byte> weights_in_ram() const;
  // What a user should know of the devices, a sentence each.
  [[nodiscard]] std::vector<std::string> remarks() const;
  // What the process holds of RAM now, for plan::require_held.
  [[nodiscard]] plan::Held held() const;
  // Bytes of weights read from disk for the passes so far.
  [[nodiscard]] Bytes streamed_bytes() const { return stream_ ? stream_->bytes_read() : Bytes(); }

 private:
  Engine(gguf::Model model, model::Program program, plan::Plan plan, Options options);
  struct Kept;
  Kept take(const plan::Plan& to);
  void hand_over(const plan::Plan& to, Kept& kept);
  bool open(const LoadProgress& progress, const StopFlag& stop, Kept kept);
  void give_up();
  bool load_weights(const KeptWeights& kept, const LoadProgress& progress, const StopFlag& stop);
  void open_stream();
  [[nodiscard]] std::vector<std::vector<float>> rope_factors() const;
  void verify_devices() const;

  gguf::Model model_;
  model::Program program_;
  plan::Plan plan_;
  Options options_;
  std::unique_ptr<ThreadPool> pool_;
  Devices devices_;
  LoadFigures load_figures_;
  std::map<std::string, UploadFigures> upload_figures_;  // by device
  std::map<std::string, Slowness> slowness_;             // by device
  std::uint64_t tokens_again_ = 0;
  GpuCosts gpu_costs_;                    // of opening them and making their shaders
  std::unique_ptr<WeightStream> stream_;  // null where nothing is streamed; goes before the devices
  std::unique_ptr<exec::Executor> executor_;
  std::unique_ptr<exec::Scheduler> scheduler_;
};

}  // namespace loadline::engine
