#include "plan/workspace.h"

#include <algorithm>

#include "quant/matrix_workspace.h"

namespace loadline::plan {

LinearWorkspace linear_workspace(const model::Op& op, const gguf::Model& model, const Shape& shape) {
  LinearWorkspace workspace;
  if (op.parts().empty()) return workspace;
  const std::uint64_t rows = op.after_select ? shape.outputs : shape.batch;
  const bool tiles = shape.matrix_unit && rows >= quant::kMatrixTokens;
  for (const model::ops::LinearPart& part : op.parts()) {
    const gguf::TensorInfo& tensor = model.tensors[static_cast<std::size_t>(part.tensor)];
    const quant::ActivationKind kind = quant::activation_kind(tensor.type);
    std::optional<Bytes>& offset = workspace.offsets[static_cast<std::size_t>(kind)];
    if (offset) continue;
    offset = workspace.total;
    Bytes bytes = quant::activation_bytes(kind, tensor.columns(), rows);
    if (tiles) bytes = std::max(bytes, quant::activation_bytes(quant::in_tiles(kind), tensor.columns(), rows));
    workspace.total += align_up(bytes, Bytes(64));
  }
  if (tiles) {
    workspace.products = workspace.total;
    workspace.total += quant::matrix_workspace(rows) * shape.threads;
  }
  return workspace;
}

}  // namespace loadline::plan
