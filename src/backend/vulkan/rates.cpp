// What our shaders reach of a graphics card.
#include <fmt/format.h>

#include "backend/vulkan/lower.h"
#include "quant/format.h"

namespace loadline::vulkan {
namespace {

// Of what a data sheet says. Reported shares for matrix-vector products on graphics cards lie between half and four
// fifths of the memory's bandwidth, for matrix products through Vulkan between a quarter and a half of the matrix
// units.
constexpr double kGpuBandwidthShare = 0.65;
constexpr double kGpuMatrixShare = 0.30;
// Of what was measured: a plain read reaches some nine tenths of the data sheet's bandwidth; matrix products are
// float32 and through shared memory (backend/vulkan/shaders/matmul.comp).
constexpr double kMeasuredBandwidthShare = 0.72;
constexpr double kMeasuredFloatShare = 0.45;
constexpr double kGpuOperation = 6e-6;
// Submitting work and noticing its end, and waking the threads of the CPU.
constexpr double kGpuSwitch = 100e-6;
// Of the peak that attention over a whole batch reaches.
constexpr double kAttentionShare = 0.35;

// Where there is no figure.
constexpr double kGpuBandwidth = 200e9;
constexpr double kHostBandwidth = 12e9;
constexpr double kGpuOpsPerByte = 60;

}  // namespace

plan::DeviceRates VulkanLowering::rates(const hardware::Profile& profile, plan::DeviceIndex device, const plan::Shape&,
                                        std::vector<std::string>& assumed) const {
  const hardware::Gpu& gpu = profile.gpus[device - 1];
  plan::DeviceRates rates;
  double bandwidth = gpu.memory_bandwidth;
  if (bandwidth <= 0) {
    bandwidth = kGpuBandwidth;
    assumed.push_back(fmt::format("{} bandwidth {:.0f} GB/s", gpu.name, bandwidth / 1e9));
  }
  const bool measured = gpu.float_ops > 0;
  rates.bandwidth = rates.cache_bandwidth = bandwidth * (measured ? kMeasuredBandwidthShare : kGpuBandwidthShare);
  const double half = gpu.half_ops > 0 ? gpu.half_ops : bandwidth * kGpuOpsPerByte;
  const double ops = measured ? gpu.float_ops * kMeasuredFloatShare : half * kGpuMatrixShare;
  for (const quant::Format& format : quant::all_formats())
    rates.products.push_back({format.type, rates.bandwidth, ops});
  rates.attention_ops = ops * kAttentionShare;
  rates.host_bandwidth = gpu.host_bandwidth > 0 ? gpu.host_bandwidth : kHostBandwidth;
  rates.operation_seconds = kGpuOperation;
  rates.switch_seconds = kGpuSwitch;
  return rates;
}

}  // namespace loadline::vulkan
