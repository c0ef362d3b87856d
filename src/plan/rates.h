// How fast a machine's devices are for what a model asks of them: measured figures where there are any, stated
// assumptions elsewhere, times the share that a backend's kernels reach. Backends fill it in (plan/lowering.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hardware/profile.h"
#include "plan/plan.h"
#include "quant/format.h"

namespace loadline::plan {

// Products with matrices of one format: reading the weights, or multiplying, takes the time, whichever is longer.
struct ProductRates {
  quant::TensorType type;
  double bandwidth = 0;  // bytes/s of weights with few tokens
  double ops = 0;        // operations/s with many, a multiply-add counts two
  // From so many tokens on in another way, which brings the weights into its own order once for every so many tokens;
  // 0: there is none.
  std::uint32_t tiles_from = 0;
  std::uint32_t tile_tokens = 1;
  double tile_ops = 0;   // operations/s
  double unpacking = 0;  // weights/s that are brought into that order
};

struct DeviceRates {
  double bandwidth = 0;                // bytes/s of its memory
  double cache_bandwidth = 0;          // bytes/s for the KV cache, attention's arithmetic included
  double attention_ops = 0;            // operations/s of attention over a batch
  double loading = 0;                  // CPU: bytes/s of weights that threads lay out in new pages; 0: nobody measured
  double operation_seconds = 0;        // fixed cost of one operation of the program: a barrier, a dispatch
  double host_bandwidth = 0;           // GPU: bytes/s from and to RAM
  double switch_seconds = 0;           // GPU: fixed cost of handing over to it or back
  std::vector<ProductRates> products;  // one for each format

  [[nodiscard]] const ProductRates& product(quant::TensorType type) const;
};

struct Rates {
  std::vector<DeviceRates> devices;  // per device of the plan
  double disk_bandwidth = 0;         // bytes/s
  // Figures that were assumed because nobody measured them: "RAM bandwidth 40 GB/s", ...
  std::vector<std::string> assumed;
};

class Backends;
Rates make_rates(const hardware::Profile& profile, const Shape& shape, const Backends& backends);

}  // namespace loadline::plan
