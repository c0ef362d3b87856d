#include "plan/workspace.h"

namespace loadline::plan {

LinearWorkspace linear_workspace(const model::Op& op, const gguf::Model& model, std::uint64_t rows) {
  LinearWorkspace workspace;
  const bool multiplies =
      op.kind == model::OpKind::Linear || op.kind == model::OpKind::LinearAdd || op.kind == model::OpKind::GatedLinear;
  if (!multiplies) return workspace;
  for (const model::TensorIndex index : op.tensors) {
    const gguf::TensorInfo& tensor = model.tensors[static_cast<std::size_t>(index)];
    const quant::ActivationKind kind = quant::activation_kind(tensor.type);
    std::optional<Bytes>& offset = workspace.offsets[static_cast<std::size_t>(kind)];
    if (offset) continue;
    offset = workspace.total;
    workspace.total += align_up(quant::activation_bytes(kind, tensor.columns(), rows), Bytes(64));
  }
  return workspace;
}

}  // namespace loadline::plan
