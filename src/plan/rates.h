// How fast a machine's devices are for what a model asks of them: measured figures where there are any, stated
// assumptions elsewhere, times the share that our kernels reach.
#pragma once

#include <vector>

#include "hardware/profile.h"
#include "plan/plan.h"
#include "quant/format.h"

namespace loadline::plan {

// What our kernels reach with one format of weights: of the read bandwidth with a token at a time, and of the dot
// product peak (int8, or float32 for float formats) with a whole batch. On the CPU.
struct FormatShare {
  double generation;
  double prompt;
};
FormatShare format_share(quant::TensorType type);

struct DeviceRates {
  double bandwidth = 0;          // bytes/s of its memory, for weights
  double cache_bandwidth = 0;    // bytes/s for the KV cache, attention's arithmetic included
  double int8_ops = 0;           // operations/s, a multiply-add counts two; on a GPU whatever its matrix units reach
  double float_ops = 0;          // likewise for float weights and for attention over a batch
  double matrix_ops = 0;         // CPU: what its matrix unit reaches, where there are many tokens; 0: none
  double unpacking = 0;          // weights/s that are brought into the matrix unit's order
  double operation_seconds = 0;  // fixed cost of one operation of the program: a barrier, a dispatch
  double host_bandwidth = 0;     // GPU: bytes/s from and to RAM
  double switch_seconds = 0;     // GPU: fixed cost of handing over to it or back
};

struct Rates {
  std::vector<DeviceRates> devices;  // per device of the plan
  double disk_bandwidth = 0;         // bytes/s
  // Figures that were assumed because nobody measured them: "RAM bandwidth 40 GB/s", ...
  std::vector<std::string> assumed;
};

Rates make_rates(const hardware::Profile& profile, const Shape& shape);

}  // namespace loadline::plan
