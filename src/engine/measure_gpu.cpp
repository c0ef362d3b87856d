#include "engine/measure_gpu.h"

#include "backend/vulkan/measure.h"

namespace loadline::engine {

void measure_gpu(hardware::Gpu& gpu, const hardware::MeasureProgress& progress) {
  vulkan::DeviceOptions options;
  options.device = gpu.id;
  const vulkan::DevicePeaks found = vulkan::measure_device(options, progress);
  gpu.memory_bandwidth = found.peaks.read_bandwidth;
  gpu.float_ops = found.peaks.float_ops;
  gpu.host_bandwidth = found.host_bandwidth;
}

}  // namespace loadline::engine
