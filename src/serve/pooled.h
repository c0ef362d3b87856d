// Pooled: a prompt's vectors from what the model's last layer makes of each of its tokens. It knows no engine.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "serve/generation.h"

namespace loadline::serve {

class Pooled {
 public:
  // Takes all memory that it needs now. `width`: of a state.
  Pooled(Pooling pooling, std::size_t tokens, std::size_t width);

  // Of the prompt's token `index`: of all in turn, or with Pooling::Last of the last alone.
  void add(std::size_t index, std::span<const float> state);
  // One vector, or one for each token; as the model gave them.
  [[nodiscard]] std::vector<std::vector<float>> take();

  static Bytes memory_bytes(Pooling pooling, std::size_t tokens, std::size_t width);

 private:
  Pooling pooling_;
  std::size_t added_ = 0;
  std::vector<double> sum_;
  std::vector<std::vector<float>> states_;
};

// As llama.cpp numbers them: divides by the length (2), the sum of magnitudes (1), the largest magnitude over 32760
// (0), or leaves it (below 0); above 2, by the norm of that order.
void normalise(std::span<float> vector, int norm);

}  // namespace loadline::serve
