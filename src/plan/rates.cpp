#include "plan/rates.h"

#include <fmt/format.h>

#include <algorithm>

#include "plan/lowering.h"

namespace loadline::plan {
namespace {

// Where nobody measured it.
constexpr double kDiskBandwidth = 1e9;

}  // namespace

const ProductRates& DeviceRates::product(quant::TensorType type) const {
  return *std::ranges::find(products, type, &ProductRates::type);
}

Rates make_rates(const hardware::Profile& profile, const Shape& shape, const Backends& backends) {
  Rates rates;
  rates.devices.push_back(backends.of(kCpu).rates(profile, kCpu, shape, rates.assumed));
  for (const hardware::Gpu& gpu : profile.gpus) {
    const auto device = static_cast<DeviceIndex>(rates.devices.size());
    rates.devices.push_back(backends.of(device).rates(profile, device, shape, rates.assumed));
    // Nobody can measure a card that is only thought of.
    if (gpu.id.empty() || gpu.context_measured || gpu.context_memory.value == 0) continue;
    rates.assumed.push_back(fmt::format("{} context {}", gpu.name, to_string(gpu.context_memory)));
  }
  rates.disk_bandwidth = profile.disk.read_bandwidth;
  if (rates.disk_bandwidth <= 0) {
    rates.disk_bandwidth = kDiskBandwidth;
    rates.assumed.push_back(fmt::format("disk {:.0f} GB/s", kDiskBandwidth / 1e9));
  }
  return rates;
}

}  // namespace loadline::plan
