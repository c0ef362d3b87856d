// What a device costs before a plan's arenas are allocated on it: the plan has a row for it.
#pragma once

#include <optional>

#include "backend/vulkan/context.h"
#include "base/bytes.h"

namespace loadline::vulkan {

struct ContextCost {
  std::optional<Bytes> device;  // of the device's memory; nullopt where its driver does not tell what is free
  Bytes host;                   // of RAM: the driver, and what it keeps of the shaders
};

// Opens the device, makes the shaders that a run makes, and sees how much less is free. What other programs take or
// give back meanwhile is counted too. Takes some seconds where the driver compiles slowly, since no pipeline cache is
// used. Throws Error(DeviceFailure).
ContextCost measure_context(DeviceOptions options);

// Seconds until the device is open and the same shaders are made, with the pipeline cache of `options`, where it names
// a folder, read before and written afterwards. Throws Error(DeviceFailure).
double measure_start(const DeviceOptions& options);

}  // namespace loadline::vulkan
