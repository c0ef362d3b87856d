// Whether a device's matrix units give what its plain arithmetic gives. No test of ours may have seen the device, so
// this is asked at every start, before they are used.
#pragma once

#include "backend/vulkan/commands.h"
#include "backend/vulkan/context.h"
#include "backend/vulkan/memory.h"
#include "backend/vulkan/pipelines.h"
#include "quant/format.h"

namespace loadline::vulkan {

// Bytes of host memory that the check works in.
inline constexpr Bytes kUnitsCheckMemory = 2 * kMiB;

// Multiplies a made-up matrix of the format with some seventy tokens both ways and compares. `memory` is in Host memory
// and overwritten. Some milliseconds, once the shaders are made. Throws Error(DeviceFailure).
bool matrix_units_agree(Context& context, Pipelines& pipelines, Timeline& timeline, const Place& memory,
                        quant::TensorType format, Address codebooks);

}  // namespace loadline::vulkan
