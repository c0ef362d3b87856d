#include "plan/prompt_stream.h"

#include <algorithm>

#include "quant/format.h"

namespace loadline::plan {
namespace {

using model::OpKind;

constexpr std::uint64_t kRowMultiple = 64;
constexpr Bytes kAlignment(256);

class Slicer {
 public:
  Slicer(const gguf::Model& model, Bytes size) : model_(model), size_(size) {}

  // Vectors that the next operation's first slice takes along.
  void carry(model::TensorIndex tensor) { carried_.push_back(tensor); }

  void cut(std::uint32_t op_index, const model::Op& op) {
    const std::uint64_t rows = info(op.tensors.front()).rows();
    Bytes row;
    for (const model::TensorIndex tensor : op.tensors) row += row_bytes(tensor);
    const std::uint64_t fitting = size_.value / row.value / kRowMultiple * kRowMultiple;
    const std::uint64_t rows_each = std::max(fitting, kRowMultiple);
    for (std::uint64_t first = 0; first < rows; first += rows_each) {
      slice_ = {op_index, first, std::min(rows_each, rows - first), {}, Bytes()};
      for (const model::TensorIndex vector : carried_) append(vector, 0, info(vector).rows());
      carried_.clear();
      for (const model::TensorIndex bias : op.biases) {
        if (bias != model::kNoTensor) append(bias, 0, info(bias).rows());
      }
      for (const model::TensorIndex matrix : op.tensors) append(matrix, first, slice_.rows);
      slices_.push_back(std::move(slice_));
    }
  }

  std::vector<WeightSlice> take() { return std::move(slices_); }

 private:
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
  return group.kind == model::GroupKind::FeedForward && std::ranges::all_of(group.ops, [](const model::Op& op) {
           const bool known =
               op.kind == OpKind::RmsNorm || op.kind == OpKind::GatedLinear || op.kind == OpKind::LinearAdd;
           return known && !op.after_select;
         });
}

std::vector<WeightSlice> weight_slices(const gguf::Model& model, const model::Group& group, Bytes size) {
  Slicer slicer(model, size);
  for (std::uint32_t i = 0; i < group.ops.size(); ++i) {
    if (group.ops[i].kind == OpKind::RmsNorm) {
      slicer.carry(group.ops[i].tensors.front());
    } else {
      slicer.cut(i, group.ops[i]);
    }
  }
  return slicer.take();
}

Bytes slot_bytes(const gguf::Model& model, const model::Program& program, const PromptStream& prompt) {
  Bytes most;
  for (const std::uint32_t group : prompt.groups) {
    for (const WeightSlice& slice : weight_slices(model, program.groups[group], prompt.slice)) {
      most = std::max(most, slice.bytes);
    }
  }
  return align_up(most, kAlignment);
}

}  // namespace loadline::plan
