#include "backend/reference/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "model/rope.h"
#include "quant/format.h"

namespace loadline::reference {
namespace {

using model::Op;
using model::OpKind;
using model::TensorIndex;
using model::ValueId;

class Pass {
 public:
  Pass(const gguf::Model& model, const model::Program& program, std::span<const std::int32_t> tokens)
      : model_(model), program_(program), config_(program.config), tokens_(tokens), values_(program.values.size()) {
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i].resize(tokens.size() * program.values[i].width);
    std::vector<float> factors;
    if (program.rope_factors != model::kNoTensor) factors = decode(program.rope_factors);
    frequencies_ = model::rope_frequencies(config_.rope, factors);
  }

  void run(const Op& op) {
    switch (op.kind) {
      case OpKind::Embed: return embed(op);
      case OpKind::RmsNorm: return norm(op.inputs[0], op.outputs[0], op.tensors[0], 1);
      case OpKind::HeadNorm: return norm(op.inputs[0], op.outputs[0], op.tensors[0], op.heads);
      case OpKind::Linear: return linear(op, false);
      case OpKind::LinearAdd: return linear(op, true);
      case OpKind::GatedLinear: return gated(op);
      case OpKind::Rope: return rope(op);
      case OpKind::Attention: return attention(op);
      case OpKind::SelectOutputs: return;  // every row is an output here
    }
  }

  std::vector<float> take(ValueId value) { return std::move(values_[value]); }

 private:
  [[nodiscard]] const gguf::TensorInfo& info(TensorIndex tensor) const {
    return model_.tensors[static_cast<std::size_t>(tensor)];
  }
  float* row(ValueId value, std::size_t token) { return values_[value].data() + token * program_.values[value].width; }

  void decode_row(TensorIndex tensor, std::uint64_t index, std::vector<float>& out) {
    const gguf::TensorInfo& t = info(tensor);
    const Bytes size = quant::size_of(t.type, t.columns());
    buffer_.resize(size.value);
    out.resize(t.columns());
    model_.files[t.file].read_at(t.offset + size * index, buffer_);
    quant::decode_row(t.type, buffer_.data(), out.data(), out.size());
  }

  std::vector<float> decode(TensorIndex tensor) {
    std::vector<float> all;
    decode_row(tensor, 0, all);
    return all;
  }

  void embed(const Op& op) {
    std::vector<float> weights;
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      if (tokens_[t] < 0 || static_cast<std::uint32_t>(tokens_[t]) >= config_.vocabulary) {
        throw bad_input(fmt::format("token {} is outside the vocabulary of {}", tokens_[t], config_.vocabulary));
      }
      decode_row(op.tensors[0], static_cast<std::uint64_t>(tokens_[t]), weights);
      std::ranges::copy(weights, row(op.outputs[0], t));
    }
  }

  void norm(ValueId in, ValueId out, TensorIndex tensor, std::uint32_t parts) {
    const std::vector<float> weight = decode(tensor);
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      for (std::uint32_t part = 0; part < parts; ++part) {
        const float* x = row(in, t) + part * weight.size();
        float* y = row(out, t) + part * weight.size();
        double sum = 0;
        for (std::size_t i = 0; i < weight.size(); ++i) sum += static_cast<double>(x[i]) * x[i];
        const float scale =
            1.0F / std::sqrt(static_cast<float>(sum / static_cast<double>(weight.size())) + config_.rms_epsilon);
        for (std::size_t i = 0; i < weight.size(); ++i) y[i] = x[i] * scale * weight[i];
      }
    }
  }

  // out[t][r] (+)= weights[r] . in[t] + bias[r]
  void product(TensorIndex tensor, TensorIndex bias, ValueId in, ValueId out, bool add) {
    const std::vector<float> offsets = bias == model::kNoTensor ? std::vector<float>() : decode(bias);
    std::vector<float> weights;
    for (std::uint64_t r = 0; r < info(tensor).rows(); ++r) {
      decode_row(tensor, r, weights);
      for (std::size_t t = 0; t < tokens_.size(); ++t) {
        const float* x = row(in, t);
        float sum = offsets.empty() ? 0.0F : offsets[r];
        for (std::size_t c = 0; c < weights.size(); ++c) sum += weights[c] * x[c];
        float& y = row(out, t)[r];
        y = add ? y + sum : sum;
      }
    }
  }

  void linear(const Op& op, bool add) {
    for (std::size_t i = 0; i < op.tensors.size(); ++i) {
      product(op.tensors[i], op.biases[i], op.inputs[0], op.outputs[i], add);
    }
  }

  void gated(const Op& op) {
    const ValueId out = op.outputs[0];
    product(op.tensors[0], model::kNoTensor, op.inputs[0], out, false);
    const std::vector<float> gate = values_[out];
    product(op.tensors[1], model::kNoTensor, op.inputs[0], out, false);
    for (std::size_t i = 0; i < gate.size(); ++i) values_[out][i] *= gate[i] / (1.0F + std::exp(-gate[i]));
  }

  void rope(const Op& op) {
    const std::uint32_t pairs = config_.rope.dimensions / 2;
    std::vector<float> cosines(pairs);
    std::vector<float> sines(pairs);
    const std::size_t step = config_.rope.neox ? 1 : 2;
    const std::size_t distance = config_.rope.neox ? pairs : 1;
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      model::rope_table(config_.rope, frequencies_, static_cast<std::uint32_t>(t), cosines.data(), sines.data());
      for (const ValueId value : op.inputs) {
        const std::uint32_t heads = program_.values[value].width / config_.head_dim_k;
        for (std::uint32_t head = 0; head < heads; ++head) {
          float* x = row(value, t) + std::size_t{head} * config_.head_dim_k;
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

  void attention(const Op& op) {
    const std::uint32_t group = config_.heads / config_.kv_heads;
    const float scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim_k));
    std::vector<float> scores(tokens_.size());
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      for (std::uint32_t head = 0; head < config_.heads; ++head) {
        const std::size_t kv_head = head / group;
        const float* q = row(op.inputs[0], t) + std::size_t{head} * config_.head_dim_k;
        float highest = -INFINITY;
        for (std::size_t cell = 0; cell <= t; ++cell) {
          const float* k = row(op.inputs[1], cell) + kv_head * config_.head_dim_k;
          float dot = 0;
          for (std::uint32_t i = 0; i < config_.head_dim_k; ++i) dot += q[i] * k[i];
          scores[cell] = dot * scale;
          highest = std::max(highest, scores[cell]);
        }
        float total = 0;
        for (std::size_t cell = 0; cell <= t; ++cell) {
          scores[cell] = std::exp(scores[cell] - highest);
          total += scores[cell];
        }
        float* out = row(op.outputs[0], t) + std::size_t{head} * config_.head_dim_v;
        std::fill_n(out, config_.head_dim_v, 0.0F);
        for (std::size_t cell = 0; cell <= t; ++cell) {
          const float* v = row(op.inputs[2], cell) + kv_head * config_.head_dim_v;
          for (std::uint32_t i = 0; i < config_.head_dim_v; ++i) out[i] += scores[cell] / total * v[i];
        }
      }
    }
  }

  const gguf::Model& model_;
  const model::Program& program_;
  const model::ModelConfig& config_;
  std::span<const std::int32_t> tokens_;
  std::vector<std::vector<float>> values_;  // per ValueId, [tokens][width]
  std::vector<float> frequencies_;
  std::vector<std::byte> buffer_;
};

}  // namespace

std::vector<float> logits(const gguf::Model& model, const model::Program& program, std::span<const std::int32_t> tokens,
                          const std::function<void(double)>& progress) {
  Pass pass(model, program, tokens);
  for (std::size_t i = 0; i < program.groups.size(); ++i) {
    for (const Op& op : program.groups[i].ops) pass.run(op);
    if (progress) progress(static_cast<double>(i + 1) / static_cast<double>(program.groups.size()));
  }
  return pass.take(program.logits);
}

}  // namespace loadline::reference
