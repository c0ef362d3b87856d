#include "plan/rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace loadline::plan {
namespace {

using quant::TensorType;

struct ShareRow {
  TensorType type;
  FormatShare share;
};

// On two cores with AVX-512 VNNI. Of the bandwidth: a few points below what `loadline bench` measures with the 8B
// shape, or `./dev bench kernels` for formats that were not run whole; of the peak: `loadline bench` with the 1B and 8B
// shapes, fixed costs taken out. bench/predictions.py compares.
constexpr std::array kShares = {
    ShareRow{TensorType::F32, {0.95, 0.55}},    ShareRow{TensorType::F16, {0.98, 0.55}},
    ShareRow{TensorType::BF16, {0.98, 0.90}},   ShareRow{TensorType::Q4_0, {0.95, 0.55}},
    ShareRow{TensorType::Q4_1, {0.94, 0.53}},   ShareRow{TensorType::Q5_0, {0.95, 0.48}},
    ShareRow{TensorType::Q5_1, {0.93, 0.48}},   ShareRow{TensorType::Q8_0, {0.97, 0.52}},
    ShareRow{TensorType::Q2_K, {0.94, 0.55}},   ShareRow{TensorType::Q3_K, {0.94, 0.47}},
    ShareRow{TensorType::Q4_K, {0.96, 0.56}},   ShareRow{TensorType::Q5_K, {0.95, 0.48}},
    ShareRow{TensorType::Q6_K, {0.94, 0.45}},   ShareRow{TensorType::IQ4_NL, {0.95, 0.52}},
    ShareRow{TensorType::IQ4_XS, {0.95, 0.52}},
};

// With the matrix unit, from `loadline bench` with the 1B and 8B shapes on two cores with AMX: of its peak, by how many
// products of bfloat16 parts a product of values is, and weights a core brings into its order per second.
constexpr double kMatrixShare = 0.36;
constexpr double kUnpackedPerCore = 12.5e9;
// A tile of 16 x 16 sums of 32 products in 16 cycles of 3 GHz.
constexpr double kAssumedMatrixOps = 1024 * 3e9;

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
constexpr double kCpuOperation = 3e-6;

// Of the memory's bandwidth that attention over the cache reaches on the CPU, and of the float peak over a batch.
constexpr double kCacheShare = 0.70;

// Where nothing was measured: what one core draws from memory, and a usual desktop's two channels in all.
constexpr double kCoreBandwidth = 14e9;
constexpr double kRamBandwidth = 40e9;
constexpr double kDiskBandwidth = 1e9;
constexpr double kGpuBandwidth = 200e9;
constexpr double kHostBandwidth = 12e9;
constexpr double kGpuOpsPerByte = 60;

// Dot product operations a core does in a cycle of about 3 GHz.
double assumed_int8_ops(const hardware::Cpu& cpu) {
  const auto has = [&](std::string_view name) { return hardware::has_instructions(cpu, name); };
  constexpr double kCycles = 3e9;
  if (has("avx512_vnni")) return 256 * kCycles;
  if (has("avx_vnni") || has("dotprod")) return 128 * kCycles;
  if (has("avx2")) return 96 * kCycles;
  if (has("neon")) return 32 * kCycles;
  return 4 * kCycles;
}

double assumed_float_ops(const hardware::Cpu& cpu) {
  const auto has = [&](std::string_view name) { return hardware::has_instructions(cpu, name); };
  constexpr double kCycles = 3e9;
  if (has("avx512")) return 64 * kCycles;
  if (has("avx2")) return 32 * kCycles;
  if (has("neon")) return 16 * kCycles;
  return 2 * kCycles;
}

DeviceRates cpu_rates(const hardware::Profile& profile, std::uint32_t threads, bool matrix_unit,
                      std::vector<std::string>& assumed) {
  DeviceRates rates;
  const std::vector<double>& measured = profile.ram.read_bandwidth;
  if (measured.empty() || measured.front() <= 0) {
    rates.bandwidth = std::min(kRamBandwidth, kCoreBandwidth * threads);
    assumed.push_back(fmt::format("RAM bandwidth {:.0f} GB/s", rates.bandwidth / 1e9));
  } else {
    rates.bandwidth = measured[std::min<std::size_t>(threads, measured.size()) - 1];
  }
  // Peaks are of all cores; fewer threads reach their share.
  const double share = static_cast<double>(std::min(threads, profile.cpu.cores)) / profile.cpu.cores;
  rates.int8_ops = profile.cpu.int8_ops * share;
  rates.float_ops = profile.cpu.float_ops * share;
  const std::uint32_t cores = std::min(threads, profile.cpu.cores);
  if (rates.int8_ops <= 0) {
    rates.int8_ops = assumed_int8_ops(profile.cpu) * cores;
    assumed.push_back(fmt::format("int8 peak {:.2f} Tops", rates.int8_ops / 1e12));
  }
  if (rates.float_ops <= 0) rates.float_ops = assumed_float_ops(profile.cpu) * cores;
  if (matrix_unit) {
    const double peak = profile.cpu.matrix_ops > 0 ? profile.cpu.matrix_ops * share : kAssumedMatrixOps * cores;
    rates.matrix_ops = peak * kMatrixShare;
    rates.unpacking = kUnpackedPerCore * cores;
  }
  rates.cache_bandwidth = rates.bandwidth * kCacheShare;
  rates.operation_seconds = kCpuOperation;
  return rates;
}

DeviceRates gpu_rates(const hardware::Gpu& gpu, std::vector<std::string>& assumed) {
  DeviceRates rates;
  double bandwidth = gpu.memory_bandwidth;
  if (bandwidth <= 0) {
    bandwidth = kGpuBandwidth;
    assumed.push_back(fmt::format("{} bandwidth {:.0f} GB/s", gpu.name, bandwidth / 1e9));
  }
  const bool measured = gpu.float_ops > 0;
  rates.bandwidth = rates.cache_bandwidth = bandwidth * (measured ? kMeasuredBandwidthShare : kGpuBandwidthShare);
  const double half = gpu.half_ops > 0 ? gpu.half_ops : bandwidth * kGpuOpsPerByte;
  rates.int8_ops = rates.float_ops = measured ? gpu.float_ops * kMeasuredFloatShare : half * kGpuMatrixShare;
  rates.host_bandwidth = gpu.host_bandwidth > 0 ? gpu.host_bandwidth : kHostBandwidth;
  rates.operation_seconds = kGpuOperation;
  rates.switch_seconds = kGpuSwitch;
  return rates;
}

}  // namespace

FormatShare format_share(TensorType type) {
  const auto row = std::ranges::find(kShares, type, &ShareRow::type);
  return row == kShares.end() ? FormatShare{0.85, 0.45} : row->share;
}

Rates make_rates(const hardware::Profile& profile, const Shape& shape) {
  Rates rates;
  rates.devices.push_back(cpu_rates(profile, shape.threads, shape.matrix_unit, rates.assumed));
  for (const hardware::Gpu& gpu : profile.gpus) {
    rates.devices.push_back(gpu_rates(gpu, rates.assumed));
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
