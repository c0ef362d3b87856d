// Measures the CPU backend's kernels on this machine, and remembers what they reach for the plans to come.
#pragma once

#include "hardware/kernel_rates.h"
#include "hardware/measurements.h"

namespace loadline::engine {

struct MeasuredKernels {
  hardware::KernelRates rates;
  double share = 1;   // of the processors, that they got while the worst of the figures was taken
  bool whole = true;  // false: others had the processors, and the figures are of no use
};

// bytes/s of weights laid out on all cores into memory that is new to the process: before anything else that takes
// memory.
double measure_loading(const hardware::Profile& profile);

// With the instruction set that runs here, on all cores: some seconds. The profile's read limit rises where a kernel
// read faster: the limit is the most that any way of reading reaches. `loading` is what measure_loading said.
MeasuredKernels measure_kernels(hardware::Profile& profile, double loading, const hardware::MeasureProgress& progress);
// By the name under which plans look for it.
void remember_kernels(const hardware::Profile& profile, const hardware::KernelRates& rates);

}  // namespace loadline::engine
