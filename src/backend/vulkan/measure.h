// What a GPU can do at most, for benchmarks to compare with: measured through the same queue, with shaders of two
// lines.
#pragma once

#include "backend/vulkan/commands.h"
#include "backend/vulkan/context.h"
#include "backend/vulkan/memory.h"
#include "backend/vulkan/pipelines.h"

namespace loadline::vulkan {

struct Peaks {
  double read_bandwidth = 0;  // bytes/s of the device's memory
  double float_ops = 0;       // float32 operations/s, a multiply-add counts two
};

// Reads `size` bytes at `memory` (cut to whole 64 KiB; larger than the device's caches, to be of use), and may change a
// word at `word`. Takes about a tenth of a second. Throws Error(DeviceFailure).
Peaks measure_peaks(Context& context, Pipelines& pipelines, Timeline& timeline, const Place& memory, Bytes size,
                    const Place& word);

}  // namespace loadline::vulkan
