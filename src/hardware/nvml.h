// NVIDIA's management library, opened at run time where it is installed.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "hardware/vulkan_api.h"

namespace loadline::hardware {

// Free memory of a device, other processes' use included: exact where Vulkan only estimates a budget. nullopt where the
// library is not there or does not know the device.
std::optional<Bytes> nvml_free_memory(const VulkanDeviceInfo& device);

}  // namespace loadline::hardware
