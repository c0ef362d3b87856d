// Where the prepared inputs of a matrix product lie inside the `activations` region. Shared by the planner, which
// reserves the bytes, and the executor, which uses them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"
#include "quant/activation.h"

namespace loadline::plan {

// One buffer for each kind of activations that the operation's matrices multiply with, one after the other.
struct LinearWorkspace {
  std::array<std::optional<Bytes>, quant::kActivationKinds>
      offsets;                    // by quant::ActivationKind; from the start of the region, 64-byte aligned
  std::optional<Bytes> products;  // where the matrix unit's workspaces begin, one per thread, if it is used
  Bytes total;

  [[nodiscard]] std::optional<Bytes> offset(quant::ActivationKind kind) const {
    return offsets[static_cast<std::size_t>(kind)];
  }
};

// Of a Linear or GatedLinear over as many rows as passes of the shape have; empty for the other operations.
LinearWorkspace linear_workspace(const model::Op& op, const gguf::Model& model, const Shape& shape);

}  // namespace loadline::plan
