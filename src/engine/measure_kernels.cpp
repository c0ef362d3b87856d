#include "engine/measure_kernels.h"

#include <algorithm>

#include "backend/cpu/measure_kernels.h"
#include "engine/backends.h"

namespace loadline::engine {

double measure_loading(const hardware::Profile& profile) {
  return cpu::measure_loading(profile.cpu.cores, profile.ram.available / 4);
}

MeasuredKernels measure_kernels(hardware::Profile& profile, double loading, const hardware::MeasureProgress& progress) {
  MeasuredKernels measured;
  measured.rates = cpu::measure_kernels(cpu::kernels(), profile.cpu.cores, measured.share, progress);
  measured.whole = measured.share >= cpu::kLeastShare;
  if (!measured.whole) return measured;
  hardware::KernelRates& rates = measured.rates;
  std::vector<double>& limits = profile.ram.read_bandwidth;
  rates.loading = loading;
  rates.read_bandwidth = limits.empty() ? 0 : limits.back();
  for (const hardware::KernelRates::Product& product : rates.products) {
    rates.read_bandwidth = std::max(rates.read_bandwidth, product.bandwidth);
  }
  if (!limits.empty()) limits.back() = rates.read_bandwidth;
  return measured;
}

void remember_kernels(const hardware::Profile& profile, const hardware::KernelRates& rates) {
  hardware::remember_kernels(hardware::kernel_rates_path(), profile.cpu, wanted_kernels(), rates);
}

}  // namespace loadline::engine
