#include "hardware/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace loadline::hardware {

// The functions and structures of nvml.h that are used here; every function returns 0 for success. What only watching
// asks for may be missing.
class NvmlDevice::Library {
 public:
  Library() : library_(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) return;
    const auto initialise = find<int (*)()>("nvmlInit_v2");
    shut_down_ = find<int (*)()>("nvmlShutdown");
    by_address_ = find<int (*)(const char*, void**)>("nvmlDeviceGetHandleByPciBusId_v2");
    memory_ = find<int (*)(void*, Memory*)>("nvmlDeviceGetMemoryInfo");
    clock_ = find<int (*)(void*, unsigned, unsigned*)>("nvmlDeviceGetClockInfo");
    most_clock_ = find<int (*)(void*, unsigned, unsigned*)>("nvmlDeviceGetMaxClockInfo");
    temperature_ = find<int (*)(void*, unsigned, unsigned*)>("nvmlDeviceGetTemperature");
    reasons_ = find<int (*)(void*, unsigned long long*)>("nvmlDeviceGetCurrentClocksThrottleReasons");
    const bool complete =
        initialise != nullptr && shut_down_ != nullptr && by_address_ != nullptr && memory_ != nullptr;
    ready_ = complete && initialise() == 0;
  }
  ~Library() {
    if (ready_) shut_down_();
    if (library_ != nullptr) ::dlclose(library_);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  [[nodiscard]] void* device(const std::string& address) const {
    void* handle = nullptr;
    return ready_ && by_address_(address.c_str(), &handle) == 0 ? handle : nullptr;
  }

  [[nodiscard]] std::optional<NvmlState> state(void* device) const {
    constexpr unsigned kMultiprocessors = 1;  // NVML_CLOCK_SM
    constexpr unsigned kDie = 0;              // NVML_TEMPERATURE_GPU
    // nvmlClocksThrottleReason: HwSlowdown, SwThermalSlowdown, HwThermalSlowdown, HwPowerBrakeSlowdown. A power cap is
    // how cards of this kind usually run.
    constexpr unsigned long long kSlowed = 0x8 | 0x20 | 0x40 | 0x80;
    Memory memory{};
    if (device == nullptr || memory_(device, &memory) != 0) return std::nullopt;
    NvmlState state;
    state.total = Bytes(memory.total);
    state.used = Bytes(memory.used);
    state.free = Bytes(memory.free);
    unsigned value = 0;
    if (clock_ != nullptr && clock_(device, kMultiprocessors, &value) == 0) state.clock = 1e6 * value;
    if (most_clock_ != nullptr && most_clock_(device, kMultiprocessors, &value) == 0) state.most_clock = 1e6 * value;
    if (temperature_ != nullptr && temperature_(device, kDie, &value) == 0) state.temperature = value;
    unsigned long long reasons = 0;
    if (reasons_ != nullptr && reasons_(device, &reasons) == 0) state.slowed = (reasons & kSlowed) != 0;
    return state;
  }

 private:
  struct Memory {  // nvmlMemory_t
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
  };
  template <class Function>
  [[nodiscard]] Function find(const char* name) const {
    return reinterpret_cast<Function>(::dlsym(library_, name));
  }

  void* library_;
  int (*shut_down_)() = nullptr;
  int (*by_address_)(const char*, void**) = nullptr;
  int (*memory_)(void*, Memory*) = nullptr;
  int (*clock_)(void*, unsigned, unsigned*) = nullptr;
  int (*most_clock_)(void*, unsigned, unsigned*) = nullptr;
  int (*temperature_)(void*, unsigned, unsigned*) = nullptr;
  int (*reasons_)(void*, unsigned long long*) = nullptr;
  bool ready_ = false;
};

namespace {

// "00000000:01:00.0" as this library writes addresses: the domain has eight digits.
std::string long_address(const std::string& address) { return address.size() == 12 ? "0000" + address : address; }

}  // namespace

NvmlDevice::NvmlDevice(const std::string& bus_address)
    : library_(std::make_unique<Library>()), device_(library_->device(long_address(bus_address))) {}

NvmlDevice::~NvmlDevice() = default;

std::optional<NvmlState> NvmlDevice::read() const { return library_->state(device_); }

std::optional<Bytes> nvml_free_memory(const VulkanDeviceInfo& device) {
  if (!device.has_pci) return std::nullopt;
  const NvmlDevice nvml(fmt::format("{:08x}:{:02x}:{:02x}.0", device.pci_domain, device.pci_bus, device.pci_device));
  const auto state = nvml.read();
  if (!state) return std::nullopt;
  return state->free;
}

}  // namespace loadline::hardware
