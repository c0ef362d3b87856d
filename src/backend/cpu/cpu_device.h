// The CPU as a device: the plan's arenas in system memory, and its stages as step lists run by a team of threads.
// Owns memory and schedule; computes only through the kernel table.
#pragma once

#include <vector>

#include "backend/cpu/host_arena.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/recorder.h"
#include "backend/device.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::cpu {

// What a device leaves to the next one: its arenas of weights and of caches, each without memory where it does not.
struct KeptArenas {
  HostArena weights, caches;
};

class CpuDevice final : public backend::Device, public backend::WeightSource {
 public:
  // Reserves every arena of the RAM tier, and brings in the memory of all but those of the weights and the cache:
  // `upload` brings in what it fills, and `populate` the rest. `model`, `program`, `plan` and `pool` must outlive the
  // device. Once `stop` is set arenas are left without memory behind them, and the device is good for nothing but
  // destruction.
  // `kept`: what of it has memory becomes the arena of its purpose, whose size it has, with what is in it.
  CpuDevice(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, ThreadPool& pool,
            const backend::StopFlag& stop, KeptArenas kept = {});

  // Takes the arena of weights, or of caches, from a device that will go. Without memory where there is none.
  HostArena give(plan::Purpose purpose);

  void populate(const backend::StopFlag& stop) override;
  void upload(plan::RegionIndex region, std::uint64_t first_row, std::uint64_t rows,
              std::span<const std::byte> data) override;
  void prepare() override;
  bool run(std::uint32_t stage, const backend::Batch& batch, const backend::StopFlag& stop) override;
  float* crossing(model::ValueId value) override;
  bool copy_page(std::uint32_t from, std::uint32_t to) override;
  bool copy_window_page(std::uint32_t from, std::uint32_t to) override;
  const float* logits() override;
  const float* states() override;
  [[nodiscard]] Bytes allocated() const override;
  void read(std::span<const Rows> all) noexcept override;

  void set_gate(backend::WeightGate* gate) override { gate_ = gate; }
  [[nodiscard]] std::span<std::byte> host_memory(plan::RegionIndex region) override;
  [[nodiscard]] std::span<const std::byte> weights() const override;

  // Address of a region of an arena in RAM.
  [[nodiscard]] std::byte* address(plan::RegionIndex region) const;

 private:
  void populate(HostArena& arena, const backend::StopFlag& stop);
  [[nodiscard]] Error no_memory() const;
  [[nodiscard]] bool is_of_weights(std::size_t arena) const;
  bool copy_page(bool windows, std::uint32_t from, std::uint32_t to);
  // Rows of `part` by tiles of 16, counted from its first.
  void read_tiles(const Rows& part, std::uint64_t first_tile, std::uint64_t end_tile) const noexcept;

  const gguf::Model& model_;
  const model::Program& program_;
  const plan::Plan& plan_;
  ThreadPool& pool_;
  const KernelTable& kernels_;
  WorkShares shares_;
  backend::WeightGate* gate_ = nullptr;
  std::vector<HostArena> arenas_;     // per arena of the plan; empty where not ours
  std::vector<Recording> schedules_;  // per stage of the plan; empty where not ours
};

}  // namespace loadline::cpu
