// What a GPU can do at most, for predictions and for benchmarks to compare with: measured through the same queue, with
// shaders of two lines.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "backend/device.h"
#include "backend/vulkan/commands.h"
#include "backend/vulkan/context.h"
#include "backend/vulkan/memory.h"
#include "backend/vulkan/pipelines.h"

namespace loadline::vulkan {

using backend::Peaks;

struct MeasuredMemory {
  Place place;
  Bytes size;  // cut to whole 64 KiB
};

// Reads the memory, all of it in turn (larger than the device's caches, to be of use), and may change a word at `word`.
// Takes about a tenth of a second. Throws Error(DeviceFailure).
Peaks measure_peaks(Context& context, Pipelines& pipelines, Timeline& timeline, std::span<const MeasuredMemory> memory,
                    const Place& word);

// The same of a GPU that nothing uses yet, and what copies from system memory to it reach.
struct DevicePeaks {
  Peaks peaks;
  double host_bandwidth = 0;  // bytes/s
};

// Opens the GPU and takes, for as long as it measures, a quarter of its free memory (at most 1 GiB) and up to 64 MiB of
// system memory. About a second. `progress`, which may be empty, is told what is measured and the share done, from 0 to
// 1; what it throws ends the measurement. Throws Error(DeviceFailure).
DevicePeaks measure_device(const DeviceOptions& options,
                           const std::function<void(std::string_view what, double done)>& progress = {});

}  // namespace loadline::vulkan
