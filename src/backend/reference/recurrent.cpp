// The operations of the oracle that keep a state: convolution, delta rule and state space scan, token by token.
#include <algorithm>
#include <cmath>

#include "backend/reference/pass.h"

namespace loadline::reference {

namespace ops = model::ops;

namespace {

float softplus(float x) { return x > 20.0F ? x : std::log1p(std::exp(x)); }

}  // namespace

void Pass::run(const ops::Convolution& op) {
  const auto& [cache, taps, weight, bias, activation] = op;
  const std::vector<float> weights = weights_.all(weight);
  const std::vector<float> offsets = weights_.all(bias);
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    for (std::uint32_t c = 0; c < out_width(); ++c) {
      float sum = offsets.empty() ? 0.0F : offsets[c];
      for (std::uint32_t tap = 0; tap < taps; ++tap) {
        if (t + tap + 1 < taps) continue;  // before the first position
        sum += weights[c * taps + tap] * in(0, t + tap + 1 - taps)[c];
      }
      out(t)[c] = activate(activation, sum);
    }
  }
}

void Pass::run(const ops::DeltaNet& op) {
  const auto& [cache, key_heads, value_heads, size, epsilon, tiled, dt_bias, decay] = op;
  const std::vector<float> dt = weights_.all(dt_bias);
  const std::vector<float> rate = weights_.all(decay);
  const auto unit = [&](const float* x) {
    float squares = 0;
    for (std::uint32_t i = 0; i < size; ++i) squares += x[i] * x[i];
    const float length = std::max(std::sqrt(squares), epsilon);
    std::vector<float> result(x, x + size);
    for (float& value : result) value /= length;
    return result;
  };
  for (std::uint32_t head = 0; head < value_heads; ++head) {
    const std::size_t key_head = tiled ? head % key_heads : head / (value_heads / key_heads);
    std::vector<float> state(std::size_t{size} * size);  // [key][value]
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      std::vector<float> q = unit(in(0, t) + key_head * size);
      const std::vector<float> k = unit(in(0, t) + (key_heads + key_head) * size);
      const float* v = in(0, t) + (std::size_t{2} * key_heads + head) * size;
      for (float& value : q) value /= std::sqrt(static_cast<float>(size));
      const float beta = activate(model::Activation::Sigmoid, in(1, t)[head]);
      const float kept = std::exp(softplus(in(2, t)[head] + dt[head]) * rate[head]);
      for (float& value : state) value *= kept;
      for (std::uint32_t j = 0; j < size; ++j) {
        float known = 0;
        for (std::uint32_t i = 0; i < size; ++i) known += k[i] * state[i * size + j];
        const float change = beta * (v[j] - known);
        float result = 0;
        for (std::uint32_t i = 0; i < size; ++i) {
          state[i * size + j] += k[i] * change;
          result += q[i] * state[i * size + j];
        }
        out(t)[head * size + j] = result;
      }
    }
  }
}

void Pass::run(const ops::StateSpace& op) {
  const auto& [cache, inner, states, heads, groups, dt_bias, a, d] = op;
  const std::vector<float> dt_offsets = weights_.all(dt_bias);
  const std::vector<float> rate = weights_.all(a);
  const std::vector<float> direct = weights_.all(d);
  const std::uint32_t size = inner / heads;
  for (std::uint32_t head = 0; head < heads; ++head) {
    const std::size_t group = head / (heads / groups);
    std::vector<float> state(std::size_t{size} * states);
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      const float* x = in(0, t) + std::size_t{head} * size;
      const float* b = in(0, t) + inner + group * states;
      const float* c = b + std::size_t{groups} * states;
      const float dt = softplus(in(1, t)[head] + dt_offsets[head]);
      const float kept = std::exp(dt * rate[head]);
      for (std::uint32_t i = 0; i < size; ++i) {
        float result = direct[head] * x[i];
        for (std::uint32_t n = 0; n < states; ++n) {
          float& value = state[i * states + n];
          value = value * kept + dt * x[i] * b[n];
          result += value * c[n];
        }
        out(t)[head * size + i] = result;
      }
    }
  }
}

}  // namespace loadline::reference
