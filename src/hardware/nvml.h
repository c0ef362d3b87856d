// NVIDIA's management library, opened at run time where it is installed.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "hardware/vulkan_api.h"

namespace loadline::hardware {

// Free memory of a device, other processes' use included: exact where Vulkan only estimates a budget. nullopt where the
// library is not there or does not know the device.
std::optional<Bytes> nvml_free_memory(const VulkanDeviceInfo& device);

// What the library says of a device now; what it does not know is absent.
struct NvmlState {
  Bytes total, used, free;                  // of its memory, by all processes
  std::optional<double> clock, most_clock;  // Hz, of its multiprocessors
  std::optional<double> temperature;        // degrees C
  std::optional<bool> slowed;               // by heat or a power brake
};

// One device, asked again and again. Keeps the library open; not thread-safe.
class NvmlDevice {
 public:
  // `bus_address`: "0000:01:00.0".
  explicit NvmlDevice(const std::string& bus_address);
  ~NvmlDevice();
  NvmlDevice(const NvmlDevice&) = delete;
  NvmlDevice& operator=(const NvmlDevice&) = delete;
  // nullopt where the library is not there or does not know the device.
  [[nodiscard]] std::optional<NvmlState> read() const;

 private:
  class Library;
  std::unique_ptr<Library> library_;
  void* device_ = nullptr;
};

}  // namespace loadline::hardware
