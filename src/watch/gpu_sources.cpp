// What drivers say of a GPU: sysfs of amdgpu, the files that this process has open there, NVIDIA's library, and Vulkan.
#include <algorithm>

#include "hardware/nvml.h"
#include "hardware/system_files.h"
#include "watch/parse.h"
#include "watch/sources.h"
#include "watch/system_file.h"

namespace loadline::watch {
namespace {

namespace fs = std::filesystem;

std::optional<Bytes> size_of(const SystemFile& file) {
  const auto value = file.number();
  return value ? std::optional(Bytes(*value)) : std::nullopt;
}

// kernel: gpu/amdgpu/driver-misc.rst, gpu/amdgpu/thermal.rst.
class AmdgpuSource final : public Source {
 public:
  AmdgpuSource(const fs::path& root, const WatchedGpu& gpu) : device_(gpu.device) {
    const fs::path folder = root / "sys/bus/pci/devices" / gpu.bus_address;
    total_ = SystemFile(folder / "mem_info_vram_total");
    used_ = SystemFile(folder / "mem_info_vram_used");
    moved_ = SystemFile(folder / "mem_info_gtt_used");
    clocks_ = SystemFile(folder / "pp_dpm_sclk");
    std::error_code problem;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder / "hwmon", problem)) {
      temperature_ = SystemFile(entry.path() / "temp1_input");
    }
  }
  void read(Sample& sample) override {
    GpuSample& gpu = sample.gpus[device_];
    if (const auto total = size_of(total_)) gpu.total = total;
    if (const auto used = size_of(used_)) gpu.used = used;
    if (const auto moved = size_of(moved_)) gpu.moved = moved;
    if (const auto clocks = parse_clock_levels(clocks_.read())) {
      gpu.clock = clocks->now;
      gpu.most_clock = clocks->most;
    }
    if (const auto degrees = temperature_.number()) gpu.temperature = 1e-3 * static_cast<double>(*degrees);
  }

 private:
  std::size_t device_;
  SystemFile total_, used_, moved_, clocks_, temperature_;
};

class GraphicsClientSource final : public Source {
 public:
  GraphicsClientSource(const fs::path& root, const WatchedGpu& gpu)
      : folder_(root / "proc/self/fdinfo"), device_(gpu.device), address_(gpu.bus_address) {}
  void read(Sample& sample) override {
    constexpr int kLookAgain = 16;
    if (samples_++ % kLookAgain == 0) find_files();
    Bytes in_device;
    Bytes in_system;
    bool found = false;
    for (const SystemFile& file : files_) {
      const auto client = parse_graphics_client(file.read());
      if (!client || client->device != address_) continue;
      found = true;
      in_device += client->in_device;
      in_system += client->in_system;
    }
    if (!found) return;
    GpuSample& gpu = sample.gpus[device_];
    if (!gpu.own) gpu.own = in_device;
    if (!gpu.moved) gpu.moved = in_system;
  }

 private:
  // One for each client of this device: files that were duplicated are the same client.
  void find_files() {
    files_.clear();
    std::vector<std::uint64_t> clients;
    std::error_code problem;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_, problem)) {
      SystemFile file(entry.path());
      const auto client = parse_graphics_client(file.read());
      if (!client || client->device != address_ || std::ranges::find(clients, client->id) != clients.end()) continue;
      clients.push_back(client->id);
      files_.push_back(std::move(file));
    }
  }

  fs::path folder_;
  std::size_t device_;
  std::string address_;
  std::vector<SystemFile> files_;
  int samples_ = 0;
};

class NvmlSource final : public Source {
 public:
  explicit NvmlSource(const WatchedGpu& gpu) : device_(gpu.device), nvml_(gpu.bus_address) {}
  void read(Sample& sample) override {
    const auto state = nvml_.read();
    if (!state) return;
    GpuSample& gpu = sample.gpus[device_];
    gpu.total = state->total;
    gpu.used = state->used;
    if (state->clock) gpu.clock = state->clock;
    if (state->most_clock) gpu.most_clock = state->most_clock;
    if (state->temperature) gpu.temperature = state->temperature;
    if (state->slowed) gpu.slowed = state->slowed;
  }

 private:
  std::size_t device_;
  hardware::NvmlDevice nvml_;
};

class BudgetSource final : public Source {
 public:
  explicit BudgetSource(const WatchedGpu& gpu) : gpu_(gpu) {}
  void read(Sample& sample) override {
    const auto use = gpu_.memory_use();
    if (!use) return;
    sample.gpus[gpu_.device].budget = use->budget;
    sample.gpus[gpu_.device].own = use->used;
  }

 private:
  WatchedGpu gpu_;
};

}  // namespace

std::unique_ptr<Source> amdgpu_source(const fs::path& root, const WatchedGpu& gpu) {
  return std::make_unique<AmdgpuSource>(root, gpu);
}
std::unique_ptr<Source> graphics_client_source(const fs::path& root, const WatchedGpu& gpu) {
  return std::make_unique<GraphicsClientSource>(root, gpu);
}
std::unique_ptr<Source> nvml_source(const WatchedGpu& gpu) { return std::make_unique<NvmlSource>(gpu); }
std::unique_ptr<Source> budget_source(const WatchedGpu& gpu) { return std::make_unique<BudgetSource>(gpu); }

}  // namespace loadline::watch
