#include "backend/reference/pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "model/rope.h"

namespace loadline::reference {

using model::Activation;
namespace ops = model::ops;

float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::None: return x;
    case Activation::Silu: return x / (1.0F + std::exp(-x));
    case Activation::Gelu: {
      const float inner = std::sqrt(2.0F / std::numbers::pi_v<float>) * (x + 0.044715F * x * x * x);
      return 0.5F * x * (1.0F + std::tanh(inner));
    }
    case Activation::ReluSquared: return x > 0 ? x * x : 0.0F;
    case Activation::Sigmoid: return 1.0F / (1.0F + std::exp(-x));
    case Activation::XIelu:
    case Activation::ClampedSwiglu: break;  // have more than an argument
  }
  throw Error(ErrorCode::Internal, fmt::format("{} is no function of one number", name_of(activation)));
}

float activate_gated(Activation activation, float gate, float up) {
  if (activation != Activation::ClampedSwiglu) return activate(activation, gate) * up;
  constexpr float kLimit = 7.0F;
  constexpr float kSteepness = 1.702F;
  const float g = std::min(gate, kLimit);
  const float u = std::clamp(up, -kLimit, kLimit);
  return g / (1.0F + std::exp(-kSteepness * g)) * (u + 1.0F);
}

namespace {

float dot(const float* a, const float* b, std::size_t count) {
  float sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

Pass::Pass(const gguf::Model& model, const model::Program& program, std::span<const std::int32_t> tokens,
           std::uint32_t context)
    : program_(program),
      tokens_(tokens),
      weights_(model),
      values_(program.values.size()),
      caches_(program.caches.size()) {
  for (std::size_t i = 0; i < values_.size(); ++i) values_[i].resize(tokens.size() * program.values[i].width);
  for (const model::RopeTable& rope : program.ropes) {
    frequencies_.push_back(model::rope_frequencies(rope.config, weights_.all(rope.factors_for(context))));
  }
}

void Pass::run(const model::Op& op) {
  op_ = &op;
  std::visit([&](const auto& attributes) { run(attributes); }, op.attributes());
}

void Pass::run(const ops::Embed& op) {
  const auto& [table, by_position, add] = op;
  std::vector<float> weights;
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    const std::int64_t index = by_position ? static_cast<std::int64_t>(t) : tokens_[t];
    const auto rows = static_cast<std::int64_t>(weights_.rows(table));
    if (index < 0 || index >= rows) {
      throw bad_input(by_position ? fmt::format("position {} is outside the model's {} positions", index, rows)
                                  : fmt::format("token {} is outside the vocabulary of {}", index, rows));
    }
    weights_.row(table, static_cast<std::uint64_t>(index), weights);
    for (std::size_t i = 0; i < weights.size(); ++i) out(t)[i] = add ? out(t)[i] + weights[i] : weights[i];
  }
}

void Pass::run(const ops::Norm& op) {
  const auto& [kind, epsilon, part, parts, offset, weight, bias, weight_per_part] = op;
  const std::vector<float> weights = weights_.all(weight);
  const std::vector<float> offsets = weights_.all(bias);
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    for (std::uint32_t p = 0; p < parts; ++p) {
      const float* x = in(0, t) + offset + std::size_t{p} * part;
      float* y = out(t) + offset + std::size_t{p} * part;
      double mean = 0;
      if (kind == ops::NormKind::Layer) {
        for (std::uint32_t i = 0; i < part; ++i) mean += static_cast<double>(x[i]) / part;
      }
      double squares = 0;
      for (std::uint32_t i = 0; i < part; ++i) squares += (x[i] - mean) * (x[i] - mean);
      const float scale = 1.0F / std::sqrt(static_cast<float>(squares / part) + epsilon);
      const std::size_t first = weight_per_part ? std::size_t{p} * part : 0;
      for (std::uint32_t i = 0; i < part; ++i) {
        y[i] = (x[i] - static_cast<float>(mean)) * scale * (weights.empty() ? 1.0F : weights[first + i]) +
               (offsets.empty() ? 0.0F : offsets[first + i]);
      }
    }
  }
}

std::vector<float> Pass::product(const ops::LinearPart& part) {
  const auto& [tensor, first_row, rows, bias, scale, whole] = part;
  const std::vector<float> offsets = weights_.all(bias);
  const float factor = scale == model::kNoTensor ? 1.0F : weights_.all(scale).front();
  std::vector<float> result(tokens_.size() * rows);
  std::vector<float> weights;
  for (std::uint64_t r = 0; r < rows; ++r) {
    weights_.row(tensor, (whole ? 0 : first_row) + r, weights);
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      const float sum = dot(weights.data(), in(0, t), weights.size());
      result[t * rows + r] = sum * factor + (offsets.empty() ? 0.0F : offsets[first_row + r]);
    }
  }
  return result;
}

void Pass::run(const ops::Linear& op) {
  const auto& [parts, add] = op;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::vector<float> result = product(parts[i]);
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      for (std::uint64_t r = 0; r < parts[i].rows; ++r) {
        float& y = out(t, i)[r];
        y = (add ? y : 0.0F) + result[t * parts[i].rows + r];
      }
    }
  }
}

void Pass::run(const ops::GatedLinear& op) {
  const auto& [parts, activation] = op;
  const std::vector<float> gate = product(parts[0]);
  const std::vector<float> up = product(parts[1]);
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    const std::size_t first = t * parts[0].rows;
    for (std::uint64_t r = 0; r < parts[0].rows; ++r)
      out(t)[r] = activate_gated(activation, gate[first + r], up[first + r]);
  }
}

void Pass::run(const ops::HeadLinear& op) {
  const auto& [tensor, heads, columns, rows, copied, first_row, head_rows, transposed] = op;
  std::vector<float> weights;
  for (std::uint32_t head = 0; head < heads; ++head) {
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      const float* x = in(0, t) + std::size_t{head} * (columns + copied);
      float* y = out(t) + std::size_t{head} * (rows + copied);
      std::fill_n(y, rows, 0.0F);
      std::copy_n(x + columns, copied, y + rows);
    }
    for (std::uint32_t r = 0; r < (transposed ? columns : rows); ++r) {
      weights_.row(tensor, first_row + head * head_rows + r, weights);
      for (std::size_t t = 0; t < tokens_.size(); ++t) {
        const float* x = in(0, t) + std::size_t{head} * (columns + copied);
        float* y = out(t) + std::size_t{head} * (rows + copied);
        if (transposed) {
          for (std::uint32_t i = 0; i < rows; ++i) y[i] += x[r] * weights[i];
        } else {
          y[r] = dot(weights.data(), x, columns);
        }
      }
    }
  }
}

void Pass::run(const ops::Rope& op) {
  const auto& [table, head_dim, offset] = op;
  const model::RopeConfig& rope = program_.ropes[table].config;
  const std::uint32_t pairs = rope.dimensions / 2;
  std::vector<float> cosines(pairs);
  std::vector<float> sines(pairs);
  const std::size_t step = rope.neox ? 1 : 2;
  const std::size_t distance = rope.neox ? pairs : 1;
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    model::rope_table(rope, frequencies_[table], static_cast<std::uint32_t>(t), cosines.data(), sines.data());
    for (const model::ValueId value : op_->inputs) {
      const std::uint32_t heads = program_.values[value].width / head_dim;
      for (std::uint32_t head = 0; head < heads; ++head) {
        float* x = row(value, t) + std::size_t{head} * head_dim + offset;
        for (std::uint32_t i = 0; i < pairs; ++i) {
          float& a = x[i * step];
          float& b = x[i * step + distance];
          const float turned = a * cosines[i] - b * sines[i];
          b = a * sines[i] + b * cosines[i];
          a = turned;
        }
      }
    }
  }
}

void Pass::run(const ops::Attention& op) {
  const auto& [cache, heads, kv_heads, head_dim_k, head_dim_v, factor, softcap, window, chunk, temperature, sinks,
               alibi, values_in_keys, stores] = op;
  Stored& stored = caches_[cache];
  if (stores) {
    stored.keys = values_[op_->inputs[1]];
    if (!values_in_keys) stored.values = values_[op_->inputs[2]];
  }
  const std::vector<float>& values = values_in_keys ? stored.keys : stored.values;
  const std::size_t value_width = values_in_keys ? head_dim_k : head_dim_v;
  const std::vector<float> sink_logits = weights_.all(sinks);
  std::vector<float> scores(tokens_.size());
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    std::size_t first = 0;
    if (window > 0 && t + 1 > window) first = t + 1 - window;
    if (chunk > 0) first = std::max(first, t / chunk * chunk);
    float scale = factor;
    if (temperature.scale != 0) {
      const auto passed = static_cast<float>((t + temperature.ahead) / temperature.length);
      scale *= 1.0F + temperature.scale * std::log(passed + 1.0F);
    }
    for (std::uint32_t head = 0; head < heads; ++head) {
      const std::size_t kv_head = head / (heads / kv_heads);
      const float* q = in(0, t) + std::size_t{head} * head_dim_k;
      const float slope = alibi == 0 ? 0.0F : ops::alibi_slope(alibi, heads, head);
      float highest = sink_logits.empty() ? -INFINITY : sink_logits[head];
      for (std::size_t cell = first; cell <= t; ++cell) {
        const float* k = stored.keys.data() + (cell * kv_heads + kv_head) * head_dim_k;
        float score = dot(q, k, head_dim_k) * scale;
        if (softcap != 0) score = softcap * std::tanh(score / softcap);
        scores[cell] = score - slope * static_cast<float>(t - cell);
        highest = std::max(highest, scores[cell]);
      }
      float total = sink_logits.empty() ? 0.0F : std::exp(sink_logits[head] - highest);
      for (std::size_t cell = first; cell <= t; ++cell) {
        scores[cell] = std::exp(scores[cell] - highest);
        total += scores[cell];
      }
      float* y = out(t) + std::size_t{head} * head_dim_v;
      std::fill_n(y, head_dim_v, 0.0F);
      for (std::size_t cell = first; cell <= t; ++cell) {
        const float* v = values.data() + (cell * kv_heads + kv_head) * value_width;
        for (std::uint32_t i = 0; i < head_dim_v; ++i) y[i] += scores[cell] / total * v[i];
      }
    }
  }
}

void Pass::run(const ops::Split& op) {
  const auto& [repeats, widths] = op;
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    const float* x = in(0, t);
    for (std::uint32_t r = 0; r < repeats; ++r) {
      for (std::size_t i = 0; i < widths.size(); ++i) {
        std::copy_n(x, widths[i], out(t, i) + std::size_t{r} * widths[i]);
        x += widths[i];
      }
    }
  }
}

void Pass::run(const ops::Activate& op) {
  const auto& [activation, alpha_p, alpha_n, beta, epsilon] = op;
  if (activation != Activation::XIelu) return each([&](float x) { return activate(activation, x); });
  each([&](float x) {
    return x > 0 ? alpha_p * x * x + beta * x : (std::expm1(std::min(x, epsilon)) - x) * alpha_n + beta * x;
  });
}

void Pass::run(const ops::Add& op) {
  const auto& [factor] = op;
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    for (std::uint32_t i = 0; i < out_width(); ++i) out(t)[i] = in(0, t)[i] + factor * in(1, t)[i];
  }
}

void Pass::run(const ops::Multiply& op) {
  const auto& [activation] = op;
  const bool one = in_width(1) == 1 && out_width() != 1;
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    for (std::uint32_t i = 0; i < out_width(); ++i) {
      out(t)[i] = in(0, t)[i] * activate(activation, in(1, t)[one ? 0 : i]);
    }
  }
}

void Pass::run(const ops::Scale& op) {
  const auto& [factor, tensor] = op;
  const float all = factor * (tensor == model::kNoTensor ? 1.0F : weights_.all(tensor).front());
  each([&](float x) { return all * x; });
}

void Pass::run(const ops::Clamp& op) {
  const auto& [limit] = op;
  each([&](float x) { return std::clamp(x, -limit, limit); });
}

void Pass::run(const ops::SoftCap& op) {
  const auto& [cap] = op;
  each([&](float x) { return cap * std::tanh(x / cap); });
}

void Pass::run(const ops::SelectOutputs& /*op*/) {}  // every row is an output here

}  // namespace loadline::reference
