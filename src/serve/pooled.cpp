#include "serve/pooled.h"

#include <algorithm>
#include <cmath>

namespace loadline::serve {

Pooled::Pooled(Pooling pooling, std::size_t tokens, std::size_t width) : pooling_(pooling) {
  if (pooling == Pooling::Mean) sum_.resize(width);
  states_.resize(pooling == Pooling::None ? tokens : 1, std::vector<float>(width));
}

Bytes Pooled::memory_bytes(Pooling pooling, std::size_t tokens, std::size_t width) {
  const std::size_t vectors = pooling == Pooling::None ? tokens : 1;
  const std::size_t sum = pooling == Pooling::Mean ? width * sizeof(double) : 0;
  return Bytes(vectors * (width * sizeof(float) + sizeof(std::vector<float>)) + sum);
}

void Pooled::add(std::size_t index, std::span<const float> state) {
  if (pooling_ != Pooling::Last && index < added_) return;  // told once more, as the prompt was read again
  ++added_;
  if (pooling_ == Pooling::Mean) {
    for (std::size_t i = 0; i < sum_.size(); ++i) sum_[i] += static_cast<double>(state[i]);
    return;
  }
  std::ranges::copy(state, states_[pooling_ == Pooling::None ? index : 0].begin());
}

std::vector<std::vector<float>> Pooled::take() {
  for (std::size_t i = 0; i < sum_.size(); ++i) {
    states_[0][i] = static_cast<float>(sum_[i] / static_cast<double>(std::max<std::size_t>(added_, 1)));
  }
  return std::move(states_);
}

void normalise(std::span<float> vector, int norm) {
  if (norm < 0) return;
  double size = 0;
  for (const float one : vector) {
    const double magnitude = std::abs(static_cast<double>(one));
    size = norm == 0 ? std::max(size, magnitude) : size + std::pow(magnitude, norm);
  }
  if (norm == 0) size /= 32760;
  if (norm > 0) size = std::pow(size, 1.0 / norm);
  if (!(size > 0)) return;
  for (float& one : vector) one = static_cast<float>(static_cast<double>(one) / size);
}

}  // namespace loadline::serve
