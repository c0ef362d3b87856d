#include "plan/costs.h"

#include <algorithm>
#include <cmath>

#include "plan/prompt_stream.h"
#include "quant/activation.h"
#include "quant/matrix_workspace.h"

namespace loadline::plan {
namespace {

// Drawing a token: a pass or two over the logits.
constexpr double kSecondsPerLogit = 1.5e-9;
// How often a byte crosses RAM's bus on its way to a GPU: read and written by the CPU, read by the device.
constexpr double kTransferCrossings = 3;
// Of the peak that attention over a whole batch reaches.
constexpr double kAttentionShare = 0.35;

// Weights are unpacked once for every block of tokens. Products of floats are of parts (quant/activation.h), of which a
// few tiles are loaded once for several: two of them take a little less than twice as long, three 2.6 times.
double on_matrix_unit(quant::TensorType type, double elements, double tokens, const DeviceRates& rates) {
  const bool floats = quant::activation_kind(type) == quant::ActivationKind::Float32;
  const double parts = type == quant::TensorType::BF16 ? 1.8 : floats ? 2.6 : 1.0;
  const double blocks = std::ceil(tokens / quant::kMatrixBlock);
  return elements * (2 * tokens * parts / rates.matrix_ops + blocks / rates.unpacking);
}

bool is_bias(const model::Op& op, model::TensorIndex tensor) {
  return std::ranges::any_of(op.parts(), [&](const model::ops::LinearPart& part) { return part.bias == tensor; });
}

}  // namespace

CostModel::CostModel(const gguf::Model& model, const model::Program& program, const Shape& shape, const Rates& rates)
    : rates_(rates) {
  const model::ModelConfig& config = program.config;
  for (const model::Group& group : program.groups) {
    Group& costs = groups_.emplace_back();
    costs.operations = static_cast<double>(group.ops.size());
    for (const model::Op& op : group.ops) {
      costs.attends = costs.attends || op.kind == model::OpKind::Attention;
      for (const model::TensorUse& use : op.tensors) {
        if (is_bias(op, use.tensor)) continue;
        const gguf::TensorInfo& tensor = model.tensors[static_cast<std::size_t>(use.tensor)];
        costs.matrices.push_back({static_cast<double>(tensor.size.value), static_cast<double>(tensor.elements()),
                                  tensor.type, op.after_select, op.kind == model::OpKind::Embed});
      }
    }
  }
  const auto row = [&](quant::TensorType type, std::uint32_t width) {
    return static_cast<double>(quant::size_of(type, width).value);
  };
  cell_bytes_ = row(shape.k_type, config.k_width()) + row(shape.v_type, config.v_width());
  attention_flops_ = 2.0 * config.heads * (config.head_dim_k + config.head_dim_v);
  hidden_bytes_ = 4.0 * config.embedding;
  attention_bytes_ = 4.0 * (config.q_width() + config.k_width() + config.v_width() + config.heads * config.head_dim_v);
  vocabulary_ = config.vocabulary;
  generation_depth_ = std::max(1U, shape.context / shape.sequences / 2);
}

Seconds CostModel::group(std::size_t group, DeviceIndex device, bool kv_on_cpu, std::uint64_t tokens,
                         std::uint64_t outputs, std::uint64_t depth) const {
  const Group& costs = groups_[group];
  const DeviceRates& rates = rates_.devices[device];
  const auto rows = static_cast<double>(tokens);
  Seconds seconds;
  seconds.operations = costs.operations * rates.operation_seconds;
  double arithmetic_seconds = 0;
  for (const Matrix& matrix : costs.matrices) {
    if (matrix.gathered) {
      seconds.weights += 2 * rows * hidden_bytes_ / rates.bandwidth;
      continue;
    }
    const FormatShare share = format_share(matrix.type);
    const bool floats = quant::activation_kind(matrix.type) != quant::ActivationKind::Int8;
    const double peak = (floats ? rates.float_ops : rates.int8_ops) * (device == kCpu ? share.prompt : 1.0);
    const double used = matrix.after_select ? static_cast<double>(outputs) : rows;
    const double reading = matrix.bytes / (rates.bandwidth * (device == kCpu ? share.generation : 1.0));
    const double multiplying = rates.matrix_ops > 0 && used >= quant::kMatrixTokens
                                   ? on_matrix_unit(matrix.type, matrix.elements, used, rates)
                                   : 2 * matrix.elements * used / peak;
    seconds.weights += std::max(reading, multiplying);
    if (multiplying > reading) arithmetic_seconds += multiplying;
  }
  seconds.by_arithmetic = 2 * arithmetic_seconds > seconds.weights;
  if (costs.attends) {
    // Over a batch every token sees what was before it: half of the batch on average, and all that was there already.
    const double seen = static_cast<double>(depth) - (rows - 1) / 2;
    // A GPU reads a cache that stays in RAM over its bus.
    const double bandwidth = kv_on_cpu && device != kCpu ? rates.host_bandwidth : rates.cache_bandwidth;
    const double reading = static_cast<double>(depth) * cell_bytes_ / bandwidth;
    const double computing = rows * seen * attention_flops_ / (rates.float_ops * kAttentionShare);
    seconds.cache = std::max(reading, computing);
  }
  return seconds;
}

double CostModel::change(DeviceIndex from, DeviceIndex to, std::uint64_t tokens) const {
  if (from == to) return 0;
  const double bytes = hidden_bytes_ * static_cast<double>(tokens);
  double seconds = 0;
  for (const DeviceIndex device : {from, to}) {
    if (device == kCpu) continue;
    seconds += rates_.devices[device].switch_seconds + bytes / rates_.devices[device].host_bandwidth;
  }
  return seconds;
}

double CostModel::visit_cache(DeviceIndex gpu, std::uint64_t tokens) const {
  const DeviceRates& rates = rates_.devices[gpu];
  return 2 * rates.switch_seconds + attention_bytes_ * static_cast<double>(tokens) / rates.host_bandwidth;
}

double CostModel::finish(DeviceIndex output_device, std::uint64_t outputs) const {
  const double logits = vocabulary_ * static_cast<double>(outputs);
  const double copied = output_device == kCpu ? 0.0
                                              : 4 * logits / rates_.devices[output_device].host_bandwidth +
                                                    rates_.devices[output_device].switch_seconds;
  return copied + logits * kSecondsPerLogit;
}

double CostModel::transfer(std::size_t group, DeviceIndex device, Bytes slice) const {
  double bytes = 0;
  for (const Matrix& matrix : groups_[group].matrices) bytes += matrix.bytes;
  // Handing over a slice of the usual length takes no time beside its way; shorter ones are more of them.
  const auto slices = [&](Bytes size) { return bytes / static_cast<double>(size.value); };
  const double more = std::max(0.0, slices(slice) - slices(kUsualSlice));
  return bytes / std::min(rates_.devices[device].host_bandwidth, rates_.devices[kCpu].bandwidth / kTransferCrossings) +
         more * rates_.devices[device].switch_seconds;
}

std::uint64_t CostModel::generation_depth() const { return generation_depth_; }

}  // namespace loadline::plan
