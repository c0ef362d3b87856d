// A GPU as a device: the plan's arenas of its tier, and its stages as command lists that are replayed for each pass.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "backend/device.h"
#include "backend/vulkan/commands.h"
#include "backend/vulkan/context.h"
#include "backend/vulkan/kept_gpu.h"
#include "backend/vulkan/measure.h"
#include "backend/vulkan/memory.h"
#include "backend/vulkan/pipelines.h"
#include "backend/vulkan/recorder.h"
#include "backend/vulkan/staging.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::vulkan {

class VulkanDevice final : public backend::Device {
 public:
  // Opens the GPU that `options` names and allocates every arena that device `index` of the plan holds, those in RAM
  // that its driver must give included. `model`, `program` and `plan` must outlive the device. Throws Error(DoesNotFit)
  // where less is free than the plan wants, Error(DeviceFailure) for everything the driver refuses; nothing is then
  // held.
  VulkanDevice(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, plan::DeviceIndex index,
               const DeviceOptions& options);
  // The same on a GPU that is open, of which the arenas that are kept of the plan become its own. Each has the plan's
  // size.
  VulkanDevice(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, plan::DeviceIndex index,
               KeptGpu kept);

  // Leaves the GPU to the device of the next plan, with these arenas of this plan (KeptGpu::before). This one can then
  // only be destroyed, which must be before what it leaves.
  KeptGpu give(std::span<const std::uint32_t> arenas);

  // Before the first run, where the plan sends weights of prompts through this GPU: who has them.
  void set_source(backend::WeightSource* source) { source_ = source; }

  void upload(plan::RegionIndex region, std::uint64_t first_row, std::uint64_t rows,
              std::span<const std::byte> data) override;
  void prepare() override;
  // Throws Error(DeviceFailure) where the device fails or is lost; it can then only be destroyed.
  bool run(std::uint32_t stage, const backend::Batch& batch, const backend::StopFlag& stop) override;
  float* crossing(model::ValueId value) override;
  bool copy_page(std::uint32_t from, std::uint32_t to) override;
  bool copy_window_page(std::uint32_t from, std::uint32_t to) override;
  const float* logits() override;
  const float* states() override;
  [[nodiscard]] Bytes allocated() const override;

  [[nodiscard]] bool holds_ram() const override { return context_.limits().software; }
  [[nodiscard]] double shader_seconds() const override { return shader_seconds_; }
  [[nodiscard]] std::string remark() const override { return kept_.gpu->remark; }
  [[nodiscard]] std::optional<backend::MemoryUse> memory_use() const override;
  [[nodiscard]] std::string bus_address() const override;
  Peaks measure() override;

  [[nodiscard]] const Context& context() const { return context_; }
  [[nodiscard]] std::size_t pipelines_made() const { return pipelines_.made(); }

 private:
  // The recordings of a stage for passes of up to so many tokens.
  struct PassClass {
    std::uint32_t most;
    std::uint32_t tile_tokens;           // of attention
    std::vector<StageRecording> stages;  // per stage of the plan; empty where not ours or not for so many tokens
  };
  // A part of the host staging region that one uploading thread uses at a time.
  struct UploadSlot {
    CommandList list;
    Bytes offset;
    bool taken = false;
  };

  void check_free_memory() const;
  void allocate();
  [[nodiscard]] std::set<quant::TensorType> formats_here() const;
  [[nodiscard]] bool checks_units() const { return context_.matrix_units() && plan_.shape.batch > kMostVectorRows; }
  void check_fast_products();
  void check_matrix_units(const std::set<quant::TensorType>& formats, const Place& memory);
  void check_integer_dots(const std::set<quant::TensorType>& formats, const Place& memory);
  std::vector<PassClass> record_classes();
  void upload_codebooks();
  [[nodiscard]] Address codebooks() const;
  [[nodiscard]] Place place(plan::RegionIndex region) const;
  std::size_t take_slot();
  void give_slot(std::size_t slot, bool failed) noexcept;
  void upload_part(UploadSlot& slot, const Place& target, std::span<const std::byte> data);
  bool submit_all(const StageRecording& recording, const backend::StopFlag& stop);
  bool copy_page(bool windows, std::uint32_t from, std::uint32_t to);
  void write_table(const PassClass& pass_class, const backend::Batch& batch);

  const gguf::Model& model_;
  const model::Program& program_;
  const plan::Plan& plan_;
  const plan::DeviceIndex index_;
  backend::WeightSource* source_ = nullptr;
  const HostStaging staging_;
  const PassTable table_;
  KeptGpu kept_;  // the GPU; its arenas become ours
  Context& context_;
  Pipelines& pipelines_;
  std::vector<Arena> arenas_;       // per arena of the plan; empty where not ours
  std::vector<PassClass> classes_;  // ascending
  std::mutex slots_lock_;
  std::condition_variable slot_free_;
  std::vector<UploadSlot> slots_;  // while loading
  bool upload_failed_ = false;
  double shader_seconds_ = 0;
  Bytes slot_bytes_;
  std::optional<CommandList> page_copy_;  // what copy_page records; made by prepare
  Timeline timeline_;                     // goes first: it waits for what was submitted
};

}  // namespace loadline::vulkan
