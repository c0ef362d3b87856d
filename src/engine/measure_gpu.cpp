#include "engine/measure_gpu.h"

#include <algorithm>

#include "backend/vulkan/context_cost.h"
#include "backend/vulkan/measure.h"

namespace loadline::engine {

void measure_gpu(hardware::Gpu& gpu, const hardware::MeasureProgress& progress) {
  vulkan::DeviceOptions options;
  options.device = gpu.id;
  const vulkan::ContextCost context = vulkan::measure_context(options);
  const vulkan::DevicePeaks found = vulkan::measure_device(options, progress);
  gpu.memory_bandwidth = found.peaks.read_bandwidth;
  gpu.float_ops = found.peaks.float_ops;
  gpu.host_bandwidth = found.host_bandwidth;
  // Other models need other shaders, and the driver more RAM for them.
  gpu.context_host_memory = std::max(context.host, hardware::kAssumedContextHostMemory);
  if (!context.device || gpu.software) return;  // whose memory is RAM
  gpu.context_memory = *context.device;
  gpu.context_measured = true;
}

}  // namespace loadline::engine
