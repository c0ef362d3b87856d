#include "plan/costs.h"

#include <algorithm>
#include <cmath>

namespace loadline::plan {
namespace {

// Drawing a token: a pass or two over the logits.
constexpr double kSecondsPerLogit = 1.5e-9;
// How often a byte crosses RAM's bus on its way to a GPU: read and written by the CPU, read by the device.
constexpr double kTransferCrossings = 3;

double product_seconds(const ProductRates& rates, double elements, double rows) {
  if (rates.tiles_from == 0 || rows < rates.tiles_from) return 2 * elements * rows / rates.ops;
  const double blocks = std::ceil(rows / rates.tile_tokens);
  return elements * (2 * rows / rates.tile_ops + blocks / rates.unpacking);
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
      if (op.kind == model::OpKind::Attention) note_attention(op.as<model::ops::Attention>(), shape, costs);
      for (const model::TensorUse& use : op.tensors) {
        if (is_bias(op, use.tensor)) continue;
        double share = 1;
        if (use.role == model::TensorRole::Experts) {
          const auto& experts = op.as<model::ops::Experts>();
          share = static_cast<double>(experts.used) / experts.experts;
        }
        const gguf::TensorInfo& tensor = model.tensors[static_cast<std::size_t>(use.tensor)];
        costs.matrices.push_back({static_cast<double>(tensor.size.value), static_cast<double>(tensor.elements()),
                                  tensor.type, op.after_select, op.kind == model::OpKind::Embed, share});
      }
    }
  }
  hidden_bytes_ = 4.0 * config.embedding;
  attention_bytes_ = 4.0 * (config.q_width() + config.k_width() + config.v_width() + config.heads * config.head_dim_v);
  vocabulary_ = config.vocabulary;
  generation_depth_ = std::max(1U, shape.context / shape.sequences / 2);
}

void CostModel::note_attention(const model::ops::Attention& op, const Shape& shape, Group& costs) {
  const auto row = [&](quant::TensorType type, std::uint32_t width) {
    return static_cast<double>(quant::size_of(type, std::uint64_t{op.kv_heads} * width).value);
  };
  costs.attends = true;
  costs.cell_bytes += row(shape.k_type, op.head_dim_k) + row(shape.v_type, op.head_dim_v);
  costs.attention_ops += 2.0 * op.heads * (op.head_dim_k + op.head_dim_v);
  costs.window = op.window;
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
    const ProductRates& product = rates.product(matrix.type);
    const double used = matrix.after_select ? static_cast<double>(outputs) : rows;
    // Of experts, those that some token has chosen are read, as if all were chosen equally often.
    const double read = matrix.share < 1 ? 1 - std::pow(1 - matrix.share, used) : 1;
    const double reading = read * matrix.bytes / product.bandwidth;
    const double multiplying = product_seconds(product, matrix.share * matrix.elements, used);
    seconds.weights += std::max(reading, multiplying);
    if (multiplying > reading) arithmetic_seconds += multiplying;
  }
  seconds.by_arithmetic = 2 * arithmetic_seconds > seconds.weights;
  if (costs.attends) {
    // Over a batch every token sees what was before it: half of the batch on average, and all that was there already.
    double seen = static_cast<double>(depth) - (rows - 1) / 2;
    double read = static_cast<double>(depth);
    if (costs.window > 0) {
      seen = std::min(seen, static_cast<double>(costs.window));
      read = std::min(read, costs.window + rows);
    }
    // A GPU reads a cache that stays in RAM over its bus.
    const double bandwidth = kv_on_cpu && device != kCpu ? rates.host_bandwidth : rates.cache_bandwidth;
    const double reading = read * costs.cell_bytes / bandwidth;
    const double computing = rows * seen * costs.attention_ops / rates.attention_ops;
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
