// The weights of a model, decoded to float32 row by row as they are needed. Nothing is kept.
#pragma once

#include <cstdint>
#include <vector>

#include "gguf/gguf.h"
#include "model/operations.h"

namespace loadline::reference {

class Weights {
 public:
  explicit Weights(const gguf::Model& model) : model_(model) {}

  [[nodiscard]] std::uint64_t rows(model::TensorIndex tensor) const { return info(tensor).rows(); }
  void row(model::TensorIndex tensor, std::uint64_t index, std::vector<float>& out);
  // All of a tensor, row after row; empty for kNoTensor.
  std::vector<float> all(model::TensorIndex tensor);

 private:
  [[nodiscard]] const gguf::TensorInfo& info(model::TensorIndex tensor) const {
    return model_.tensors[static_cast<std::size_t>(tensor)];
  }

  const gguf::Model& model_;
  std::vector<std::byte> buffer_;
};

}  // namespace loadline::reference
