// Whether a device's matrix units, and its products of bytes, give what its plain arithmetic gives. No test of ours may
// have seen the device, so this is asked at every start, before they are used.
#pragma once

#include <cstdint>
#include <span>

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

// The same of products of bytes, for passes of so many tokens each: one, a few and many take different shaders.
bool integer_dots_agree(Context& context, Pipelines& pipelines, Timeline& timeline, const Place& memory,
                        quant::TensorType format, std::span<const std::uint32_t> tokens);
// Those of which the shaders are needed where passes have up to `batch` tokens.
std::span<const std::uint32_t> dots_tokens(const Context& context, std::uint32_t batch);
// Name the shaders of these to `pipelines`, which collects.
void want_units_check(Context& context, Pipelines& pipelines, quant::TensorType format, Address codebooks);
void want_dots_check(Context& context, Pipelines& pipelines, quant::TensorType format,
                     std::span<const std::uint32_t> tokens);

}  // namespace loadline::vulkan
