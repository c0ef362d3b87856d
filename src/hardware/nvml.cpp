#include "hardware/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace loadline::hardware {
namespace {

// The functions and structures of nvml.h that are used here; every function returns 0 for success.
class Nvml {
 public:
  Nvml() : library_(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) return;
    const auto initialise = find<int (*)()>("nvmlInit_v2");
    shut_down_ = find<int (*)()>("nvmlShutdown");
    by_address_ = find<int (*)(const char*, void**)>("nvmlDeviceGetHandleByPciBusId_v2");
    memory_ = find<int (*)(void*, Memory*)>("nvmlDeviceGetMemoryInfo");
    const bool complete =
        initialise != nullptr && shut_down_ != nullptr && by_address_ != nullptr && memory_ != nullptr;
    ready_ = complete && initialise() == 0;
  }
  ~Nvml() {
    if (ready_) shut_down_();
    if (library_ != nullptr) ::dlclose(library_);
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  [[nodiscard]] std::optional<Bytes> free(const VulkanDeviceInfo& device) const {
    if (!ready_ || !device.has_pci) return std::nullopt;
    const std::string address =
        fmt::format("{:08x}:{:02x}:{:02x}.0", device.pci_domain, device.pci_bus, device.pci_device);
    void* handle = nullptr;
    Memory memory{};
    if (by_address_(address.c_str(), &handle) != 0 || memory_(handle, &memory) != 0) return std::nullopt;
    return Bytes(memory.free);
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
  bool ready_ = false;
};

}  // namespace

std::optional<Bytes> nvml_free_memory(const VulkanDeviceInfo& device) { return Nvml().free(device); }

}  // namespace loadline::hardware
