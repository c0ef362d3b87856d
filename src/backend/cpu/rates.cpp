// What our kernels reach of a processor: shares of its limits, by format, beside the figures that nobody measured.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "backend/cpu/lower.h"
#include "quant/activation.h"
#include "quant/format.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu {
namespace {

using plan::DeviceRates;
using plan::ProductRates;
using quant::TensorType;

// What our kernels reach with one format of weights: of the read bandwidth with a token at a time, and of the dot
// product peak (int8, or float32 for float formats) with a whole batch.
struct FormatShare {
  double generation;
  double prompt;
};
struct ShareRow {
  TensorType type;
  FormatShare share;
};

// On two cores with AVX-512 VNNI. Of the bandwidth: a few points below what `loadline bench` measures with the 8B
// shape, or `./dev bench kernels` for formats that were not run whole (those of
// codebooks and TQ1_0 with VBMI, where memory gave 51 GB/s); of the peak: `loadline bench` with the 1B and 8B
// shapes, fixed costs taken out. bench/predictions.py compares.
constexpr std::array kShares = {
    ShareRow{TensorType::F32, {0.95, 0.55}},     ShareRow{TensorType::F16, {0.98, 0.55}},
    ShareRow{TensorType::BF16, {0.98, 0.90}},    ShareRow{TensorType::Q4_0, {0.95, 0.55}},
    ShareRow{TensorType::Q4_1, {0.94, 0.53}},    ShareRow{TensorType::Q5_0, {0.95, 0.48}},
    ShareRow{TensorType::Q5_1, {0.93, 0.48}},    ShareRow{TensorType::Q8_0, {0.97, 0.52}},
    ShareRow{TensorType::Q2_K, {0.94, 0.55}},    ShareRow{TensorType::Q3_K, {0.94, 0.47}},
    ShareRow{TensorType::Q4_K, {0.96, 0.56}},    ShareRow{TensorType::Q5_K, {0.95, 0.48}},
    ShareRow{TensorType::Q6_K, {0.94, 0.45}},    ShareRow{TensorType::IQ4_NL, {0.95, 0.52}},
    ShareRow{TensorType::IQ4_XS, {0.95, 0.52}},  ShareRow{TensorType::MXFP4, {0.95, 0.50}},
    ShareRow{TensorType::IQ1_S, {0.19, 0.50}},   ShareRow{TensorType::IQ1_M, {0.20, 0.45}},
    ShareRow{TensorType::IQ2_XXS, {0.78, 0.52}}, ShareRow{TensorType::IQ2_XS, {0.63, 0.50}},
    ShareRow{TensorType::IQ2_S, {0.47, 0.50}},   ShareRow{TensorType::IQ3_XXS, {0.92, 0.52}},
    ShareRow{TensorType::IQ3_S, {0.75, 0.50}},   ShareRow{TensorType::TQ1_0, {0.77, 0.55}},
};

// With the matrix unit, from `loadline bench` with the 1B and 8B shapes on two cores with AMX: of its peak, by how many
// products of bfloat16 parts a product of values is, and weights a core brings into its order per second.
constexpr double kMatrixShare = 0.36;
constexpr double kUnpackedPerCore = 12.5e9;
// A tile of 16 x 16 sums of 32 products in 16 cycles of 3 GHz.
constexpr double kAssumedMatrixOps = 1024 * 3e9;

// Of a format that has no row.
constexpr FormatShare kOther = {0.85, 0.45};

// Of the float peak that attention over a whole batch reaches.
constexpr double kAttentionShare = 0.35;
constexpr double kCpuOperation = 3e-6;

// Of the memory's bandwidth that attention over the cache reaches.
constexpr double kCacheShare = 0.70;

// Where nothing was measured: what one core draws from memory, and a usual desktop's two channels in all.
constexpr double kCoreBandwidth = 14e9;
constexpr double kRamBandwidth = 40e9;

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

// Weights are unpacked once for every block of tokens. Products of floats are of parts (quant/activation.h), of which a
// few tiles are loaded once for several: two of them take a little less than twice as long, three 2.6 times.
double parts_of(TensorType type) {
  const bool floats = quant::activation_kind(type) == quant::ActivationKind::Float32;
  return type == TensorType::BF16 ? 1.8 : floats ? 2.6 : 1.0;
}

}  // namespace

DeviceRates CpuLowering::rates(const hardware::Profile& profile, plan::DeviceIndex, const plan::Shape& shape,
                               std::vector<std::string>& assumed) const {
  const std::uint32_t threads = shape.threads;
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
  double int8_ops = profile.cpu.int8_ops * share;
  double float_ops = profile.cpu.float_ops * share;
  const std::uint32_t cores = std::min(threads, profile.cpu.cores);
  if (int8_ops <= 0) {
    int8_ops = assumed_int8_ops(profile.cpu) * cores;
    assumed.push_back(fmt::format("int8 peak {:.2f} Tops", int8_ops / 1e12));
  }
  if (float_ops <= 0) float_ops = assumed_float_ops(profile.cpu) * cores;
  const double peak = profile.cpu.matrix_ops > 0 ? profile.cpu.matrix_ops * share : kAssumedMatrixOps * cores;
  // Of figures that were measured with all cores, fewer threads reach their share: of what RAM gives, as it was
  // measured for so many.
  const hardware::KernelRates* known = known_ && !measured.empty() ? known_(profile.cpu) : nullptr;
  const double reading_share = known == nullptr || measured.back() <= 0 ? 1 : rates.bandwidth / measured.back();
  for (const quant::Format& format : quant::all_formats()) {
    const auto row = std::ranges::find(kShares, format.type, &ShareRow::type);
    const FormatShare reached = row == kShares.end() ? kOther : row->share;
    const bool floats = quant::activation_kind(format.type) != quant::ActivationKind::Int8;
    ProductRates product{format.type, rates.bandwidth * reached.generation,
                         (floats ? float_ops : int8_ops) * reached.prompt};
    if (known != nullptr) {
      const auto found = std::ranges::find(known->products, format.name, &hardware::KernelRates::Product::format);
      if (found != known->products.end()) {
        product.bandwidth = found->bandwidth * reading_share;
        if (!shape.matrix_unit) product.ops = found->ops * share;
      }
    }
    if (shape.matrix_unit) {
      product.tiles_from = quant::kMatrixTokens;
      product.tile_ops = peak * kMatrixShare / parts_of(format.type);
      product.tile_tokens = quant::kMatrixBlock;
      product.unpacking = kUnpackedPerCore * cores;
    }
    rates.products.push_back(product);
  }
  rates.cache_bandwidth = rates.bandwidth * kCacheShare;
  rates.attention_ops = float_ops * kAttentionShare;
  if (known != nullptr) {
    rates.cache_bandwidth = known->cache_bandwidth * reading_share;
    rates.attention_ops = known->attention_ops * share;
    rates.loading = known->loading * share;
  }
  rates.operation_seconds = kCpuOperation;
  return rates;
}

}  // namespace loadline::cpu
