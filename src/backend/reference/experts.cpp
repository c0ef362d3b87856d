// The mixtures of experts of the oracle.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "backend/reference/pass.h"

namespace loadline::reference {

namespace ops = model::ops;

namespace {

std::vector<float> softmax(std::vector<float> values) {
  const float highest = *std::ranges::max_element(values);
  float total = 0;
  for (float& value : values) total += value = std::exp(value - highest);
  for (float& value : values) value /= total;
  return values;
}

std::vector<float> probabilities(ops::Gating gating, const std::vector<float>& logits) {
  if (gating == ops::Gating::Softmax) return softmax(logits);
  std::vector<float> result = logits;
  if (gating == ops::Gating::Sigmoid) {
    for (float& value : result) value = activate(model::Activation::Sigmoid, value);
  }
  if (gating == ops::Gating::SqrtSoftplus) {
    for (float& value : result) value = std::sqrt(std::log1p(std::exp(value)));
  }
  return result;  // those of the chosen come later
}

// Indices of the `count` largest, largest first.
std::vector<std::uint32_t> largest(const std::vector<float>& values, std::uint32_t count) {
  std::vector<std::uint32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, [&](std::uint32_t a, std::uint32_t b) { return values[a] > values[b]; });
  order.resize(count);
  return order;
}

// Leaves the experts of the best groups only.
void keep_groups(std::vector<float>& scores, std::uint32_t groups, std::uint32_t used) {
  const std::size_t each = scores.size() / groups;
  std::vector<float> of_group(groups);
  for (std::uint32_t g = 0; g < groups; ++g) {
    const auto first = scores.begin() + static_cast<std::ptrdiff_t>(g * each);
    std::vector<float> own(first, first + static_cast<std::ptrdiff_t>(each));
    std::ranges::sort(own, std::greater());
    of_group[g] = own[0] + (each > 1 ? own[1] : 0.0F);
  }
  const std::vector<std::uint32_t> kept = largest(of_group, used);
  for (std::size_t e = 0; e < scores.size(); ++e) {
    if (std::ranges::find(kept, e / each) == kept.end()) scores[e] = -INFINITY;
  }
}

}  // namespace

void Pass::run(const ops::Route& op) {
  const auto& [experts, used, gating, choice_bias, groups, groups_used, normalize, scale] = op;
  const std::vector<float> bias = weights_.all(choice_bias);
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    const std::vector<float> logits(in(0, t), in(0, t) + experts);
    const std::vector<float> p = probabilities(gating, logits);
    std::vector<float> scores = p;
    for (std::size_t e = 0; e < bias.size(); ++e) scores[e] += bias[e];
    if (groups > 1) keep_groups(scores, groups, groups_used);
    const std::vector<std::uint32_t> chosen = largest(scores, used);
    std::vector<float> weights;
    for (const std::uint32_t e : chosen) weights.push_back(p[e]);
    if (gating == ops::Gating::SoftmaxOfChosen) weights = softmax(weights);
    if (gating == ops::Gating::SigmoidOfChosen) {
      for (float& weight : weights) weight = activate(model::Activation::Sigmoid, weight);
    }
    constexpr float kLeast = 6.1035e-5F;  // the smallest normal half
    const float sum = std::max(std::accumulate(weights.begin(), weights.end(), 0.0F), kLeast);
    for (std::uint32_t i = 0; i < used; ++i) {
      const float weight = (normalize ? weights[i] / sum : weights[i]) * scale;
      const auto expert = static_cast<std::int32_t>(chosen[i]);
      std::memcpy(out(t) + 2 * i, &expert, sizeof expert);
      out(t)[2 * i + 1] = weight;
    }
  }
}

namespace {

// A row of expert `e`'s part of a tensor [columns, tensor rows, experts].
std::uint64_t row_of(const ops::ExpertPart& part, std::uint64_t rows_each, std::uint32_t e, std::uint64_t r) {
  return e * rows_each + (part.whole ? 0 : part.first_row) + r;
}

}  // namespace

void Pass::run(const ops::Experts& op) {
  const auto& [experts, used, gate, up, down, activation, weights_before] = op;
  for (std::size_t t = 0; t < tokens_.size(); ++t) std::fill_n(out(t), out_width(), 0.0F);
  struct Visit {
    std::size_t token;
    float weight;
    std::vector<float> x;
  };
  for (std::uint32_t e = 0; e < experts; ++e) {
    std::vector<Visit> visits;
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      for (std::uint32_t i = 0; i < used; ++i) {
        std::int32_t expert = 0;
        std::memcpy(&expert, in(1, t) + 2 * i, sizeof expert);
        if (expert != static_cast<std::int32_t>(e)) continue;
        visits.push_back({t, in(1, t)[2 * i + 1], {in(0, t), in(0, t) + in_width(0)}});
      }
    }
    if (visits.empty()) continue;
    // part * x of each visit, with its scale and bias.
    const auto multiply = [&](const ops::ExpertPart& part, const std::vector<std::vector<float>>& inputs) {
      const std::vector<float> bias = weights_.all(part.bias);
      const std::vector<float> scale = weights_.all(part.scale);
      const std::uint64_t rows_each = weights_.rows(part.tensor) / experts;
      std::vector<std::vector<float>> results(inputs.size(), std::vector<float>(part.rows));
      std::vector<float> weights;
      for (std::uint64_t r = 0; r < part.rows; ++r) {
        const std::uint64_t row = row_of(part, rows_each, e, r);
        weights_.row(part.tensor, row, weights);
        for (std::size_t i = 0; i < inputs.size(); ++i) {
          float sum = 0;
          for (std::size_t c = 0; c < weights.size(); ++c) sum += weights[c] * inputs[i][c];
          results[i][r] = sum * (scale.empty() ? 1.0F : scale[e]) + (bias.empty() ? 0.0F : bias[row]);
        }
      }
      return results;
    };
    std::vector<std::vector<float>> inputs;
    for (Visit& visit : visits) {
      if (weights_before) {
        for (float& x : visit.x) x *= visit.weight;
      }
      inputs.push_back(visit.x);
    }
    std::vector<std::vector<float>> inner = multiply(up, inputs);
    const bool has_gate = gate.tensor != model::kNoTensor;
    const std::vector<std::vector<float>> gates = has_gate ? multiply(gate, inputs) : inner;
    for (std::size_t i = 0; i < inner.size(); ++i) {
      for (std::size_t r = 0; r < inner[i].size(); ++r) {
        inner[i][r] =
            has_gate ? activate_gated(activation, gates[i][r], inner[i][r]) : activate(activation, inner[i][r]);
      }
    }
    const std::vector<std::vector<float>> results = multiply(down, inner);
    for (std::size_t i = 0; i < visits.size(); ++i) {
      const float weight = weights_before ? 1.0F : visits[i].weight;
      for (std::size_t r = 0; r < results[i].size(); ++r) out(visits[i].token)[r] += weight * results[i][r];
    }
  }
}

}  // namespace loadline::reference
