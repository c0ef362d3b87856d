// Measures GPUs for predictions: the hardware module says which there are, the backend that drives them what they do.
#pragma once

#include "hardware/measurements.h"
#include "hardware/profile.h"

namespace loadline::engine {

// Fills in memory_bandwidth, host_bandwidth, float_ops and what a context costs, of a probed GPU, of which a quarter of
// the free memory is taken meanwhile (at most 1 GiB). A second or two. `progress` is told the share done of this GPU.
// Throws Error(DeviceFailure), and Error(DoesNotFit) where too little is free.
void measure_gpu(hardware::Gpu& gpu, const hardware::MeasureProgress& progress);

}  // namespace loadline::engine
