#include "backend/vulkan/slices.h"

#include <algorithm>
#include <span>

#include "plan/crossing.h"
#include "quant/format.h"

namespace loadline::vulkan {
namespace {

using model::OpKind;

constexpr std::uint64_t kRowMultiple = 64;
constexpr Bytes kAlignment(256);

class Slicer {
 public:
  Slicer(const gguf::Model& model, Bytes size) : model_(model), size_(size) {}

  // Vectors that the next operation's first slice takes along.
  void carry(model::TensorIndex tensor) { carried_.push_back(tensor); }

  // All of the operation's matrices side by side.
  void cut(std::uint32_t op_index, const model::Op& op) { cut(op_index, op.parts()); }
  // One after the other.
  void cut_each(std::uint32_t op_index, const model::Op& op) {
    for (std::size_t i = 0; i < op.parts().size(); ++i) cut(op_index, op.parts().subspan(i, 1));
  }

  std::vector<WeightSlice> take() { return std::move(slices_); }

 private:
  void cut(std::uint32_t op_index, std::span<const model::ops::LinearPart> matrices) {
    const std::uint64_t rows = matrices.front().rows;
    Bytes row;
    for (const model::ops::LinearPart& matrix : matrices) row += row_bytes(matrix.tensor);
    const std::uint64_t fitting = size_.value / row.value / kRowMultiple * kRowMultiple;
    const std::uint64_t rows_each = std::max(fitting, kRowMultiple);
    for (std::uint64_t first = 0; first < rows; first += rows_each) {
      slice_ = {op_index, first, std::min(rows_each, rows - first), {}, Bytes()};
      for (const model::TensorIndex vector : carried_) append(vector, 0, info(vector).rows());
      carried_.clear();
      for (const model::ops::LinearPart& matrix : matrices) {
        if (matrix.bias != model::kNoTensor) append(matrix.bias, 0, info(matrix.bias).rows());
      }
      for (const model::ops::LinearPart& matrix : matrices) append(matrix.tensor, first, slice_.rows);
      slices_.push_back(std::move(slice_));
    }
  }

  [[nodiscard]] const gguf::TensorInfo& info(model::TensorIndex tensor) const {
    return model_.tensors[static_cast<std::size_t>(tensor)];
  }
  [[nodiscard]] Bytes row_bytes(model::TensorIndex tensor) const {
    return quant::size_of(info(tensor).type, info(tensor).columns());
  }
  void append(model::TensorIndex tensor, std::uint64_t first_row, std::uint64_t rows) {
    const Bytes offset = align_up(slice_.bytes, kAlignment);
    slice_.parts.push_back({tensor, first_row, rows, offset});
    slice_.bytes = offset + row_bytes(tensor) * rows;
  }

  const gguf::Model& model_;
  const Bytes size_;
  std::vector<model::TensorIndex> carried_;
  WeightSlice slice_;
  std::vector<WeightSlice> slices_;
};

}  // namespace

bool can_pass_through(const model::Group& group) {
  if (std::ranges::any_of(group.ops, &model::Op::after_select)) return false;
  // Nothing that a slice does not bring, or that is not all the rows of a matrix.
  const auto plain = [](const model::Op& op) {
    if (op.kind == OpKind::Rope || op.kind == OpKind::Attention) return true;
    return std::ranges::all_of(op.used_attributes(), [&](std::string_view attribute) {
      if (op.kind == OpKind::Norm) return attribute == "parts";
      return op.kind == OpKind::Linear && (attribute == "add" || attribute == "bias");
    });
  };
  if (!std::ranges::all_of(group.ops, plain)) return false;
  const auto are = [&](std::initializer_list<OpKind> kinds) {
    return std::ranges::all_of(group.ops,
                               [&](const model::Op& op) { return std::ranges::find(kinds, op.kind) != kinds.end(); });
  };
  switch (group.kind) {
    case model::GroupKind::FeedForward: return are({OpKind::Norm, OpKind::GatedLinear, OpKind::Linear});
    case model::GroupKind::Attention: return are({OpKind::Norm, OpKind::Linear, OpKind::Rope, OpKind::Attention});
    default: return false;
  }
}

std::vector<WeightSlice> weight_slices(const gguf::Model& model, const model::Group& group, Bytes size) {
  Slicer slicer(model, size);
  const plan::OpRange stay = plan::cache_ops(group);
  for (std::uint32_t i = 0; i < group.ops.size(); ++i) {
    if (i >= stay.first && i < stay.end) continue;
    const model::Op& op = group.ops[i];
    if (op.kind == OpKind::Norm) {
      slicer.carry(op.as<model::ops::Norm>().weight);
    } else if (op.kind == OpKind::Linear) {
      slicer.cut_each(i, op);
    } else {
      slicer.cut(i, op);
    }
  }
  return slicer.take();
}

Bytes slot_bytes(const gguf::Model& model, const model::Program& program, const plan::PromptStream& prompt) {
  Bytes most;
  for (const std::uint32_t group : prompt.groups) {
    for (const WeightSlice& slice : weight_slices(model, program.groups[group], prompt.slice)) {
      most = std::max(most, slice.bytes);
    }
  }
  return align_up(most, kAlignment);
}

Bytes ring_bytes(const plan::LoweringTask& task, const plan::DeviceTask& device) {
  if (device.prompt == nullptr) return Bytes(0);
  return kRingSlots * slot_bytes(task.model, task.program, *device.prompt);
}

}  // namespace loadline::vulkan
