#include "model/builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "base/error.h"

namespace loadline::model {
namespace {

std::string layer_tensor(std::uint32_t layer, std::string_view suffix) {
  return fmt::format("blk.{}.{}", layer, suffix);
}

}  // namespace

ProgramBuilder::ProgramBuilder(const gguf::Model& model, ModelConfig config) : model_(model) {
  program_.config = std::move(config);
  const ModelConfig& c = program_.config;
  const TensorIndex embedding = model.find_tensor("token_embd.weight");
  if (embedding == kNoTensor) throw bad_input("the model has no tensor token_embd.weight");
  const std::uint64_t rows = model.tensors[static_cast<std::size_t>(embedding)].shape[1];
  if (rows > (std::uint64_t{1} << 24)) throw bad_input(fmt::format("token_embd.weight has {} rows, too many", rows));
  program_.config.vocabulary = static_cast<std::uint32_t>(rows);
  const auto* tokens = model.metadata.get_strings("tokenizer.ggml.tokens");
  if (tokens != nullptr && tokens->size() != rows) {
    throw bad_input(
        fmt::format("token_embd.weight has {} rows, but tokenizer.ggml.tokens has {} entries", rows, tokens->size()));
  }

  value("hidden", c.embedding);
  normed_ = value("normed", c.embedding);
  q_ = value("q", c.q_width());
  k_ = value("k", c.k_width());
  v_ = value("v", c.v_width());
  mixed_ = value("attention", c.heads * c.head_dim_v);
  gated_ = value("gated", c.feed_forward);
  logits_ = value("logits", c.vocabulary, true);
  program_.logits = logits_;
}

ValueId ProgramBuilder::value(std::string name, std::uint32_t width, bool outputs_only) {
  program_.values.push_back({std::move(name), width, outputs_only});
  return static_cast<ValueId>(program_.values.size() - 1);
}

TensorIndex ProgramBuilder::find(std::string_view name, std::initializer_list<std::uint64_t> shape) const {
  const TensorIndex index = model_.find_tensor(name);
  if (index == kNoTensor) return kNoTensor;
  const gguf::TensorInfo& tensor = model_.tensors[static_cast<std::size_t>(index)];
  std::array<std::uint64_t, 4> expected = {1, 1, 1, 1};
  std::copy(shape.begin(), shape.end(), expected.begin());
  if (tensor.shape != expected) {
    throw bad_input(fmt::format("tensor {} has the shape [{}], but the model's metadata ask for [{}]", name,
                                fmt::join(tensor.shape.begin(), tensor.shape.begin() + tensor.dimensions, ", "),
                                fmt::join(shape, ", ")));
  }
  return index;
}

TensorIndex ProgramBuilder::require(std::string_view name, std::initializer_list<std::uint64_t> shape) const {
  const TensorIndex index = find(name, shape);
  if (index == kNoTensor) throw bad_input(fmt::format("the model has no tensor {}", name));
  return index;
}

TensorIndex ProgramBuilder::require_vector(std::string_view name, std::uint64_t length) const {
  const TensorIndex index = require(name, {length});
  const quant::TensorType type = model_.tensors[static_cast<std::size_t>(index)].type;
  if (type != quant::TensorType::F32) {
    throw bad_input(fmt::format("tensor {} is {}; norms and biases must be F32", name, quant::name_of(type)));
  }
  return index;
}

void ProgramBuilder::embedding() {
  const ModelConfig& c = program_.config;
  const TensorIndex table = require("token_embd.weight", {c.embedding, c.vocabulary});
  program_.groups.push_back({GroupKind::Embedding, 0, {Op{OpKind::Embed, {}, {kHidden}, {table}, {}}}});
}

void ProgramBuilder::attention(std::uint32_t layer, AttentionStyle style) {
  const ModelConfig& c = program_.config;
  const auto name = [&](std::string_view suffix) { return layer_tensor(layer, suffix); };
  // Biases the family does not ask for count where a file has them all the same (Llama with attention_bias).
  const auto bias = [&](std::string_view suffix, std::uint64_t width, bool required) {
    const bool there = model_.find_tensor(name(suffix)) != kNoTensor;
    return required || there ? require_vector(name(suffix), width) : kNoTensor;
  };
  std::vector<Op> ops;
  ops.push_back({OpKind::RmsNorm, {kHidden}, {normed_}, {require_vector(name("attn_norm.weight"), c.embedding)}, {}});
  ops.push_back({OpKind::Linear,
                 {normed_},
                 {q_, k_, v_},
                 {require(name("attn_q.weight"), {c.embedding, c.q_width()}),
                  require(name("attn_k.weight"), {c.embedding, c.k_width()}),
                  require(name("attn_v.weight"), {c.embedding, c.v_width()})},
                 {bias("attn_q.bias", c.q_width(), style.biases), bias("attn_k.bias", c.k_width(), style.biases),
                  bias("attn_v.bias", c.v_width(), style.biases)}});
  if (style.head_norm) {
    Op q{OpKind::HeadNorm, {q_}, {q_}, {require_vector(name("attn_q_norm.weight"), c.head_dim_k)}, {}};
    Op k{OpKind::HeadNorm, {k_}, {k_}, {require_vector(name("attn_k_norm.weight"), c.head_dim_k)}, {}};
    q.heads = c.heads;
    k.heads = c.kv_heads;
    ops.push_back(std::move(q));
    ops.push_back(std::move(k));
  }
  ops.push_back({OpKind::Rope, {q_, k_}, {q_, k_}, {}, {}});
  Op mix{OpKind::Attention, {q_, k_, v_}, {mixed_}, {}, {}};
  mix.layer = layer;
  ops.push_back(std::move(mix));
  ops.push_back({OpKind::LinearAdd,
                 {mixed_},
                 {kHidden},
                 {require(name("attn_output.weight"), {std::uint64_t{c.heads} * c.head_dim_v, c.embedding})},
                 {bias("attn_output.bias", c.embedding, false)}});
  program_.groups.push_back({GroupKind::Attention, layer, std::move(ops)});
}

void ProgramBuilder::feed_forward(std::uint32_t layer) {
  const ModelConfig& c = program_.config;
  const auto name = [&](std::string_view suffix) { return layer_tensor(layer, suffix); };
  // After the last attention nothing looks at other tokens any more: only the rows that logits are wanted for go on.
  const bool last = layer + 1 == c.layers;
  std::vector<Op> ops;
  if (last) ops.push_back({OpKind::SelectOutputs, {kHidden}, {kHidden}, {}, {}});
  ops.push_back({OpKind::RmsNorm, {kHidden}, {normed_}, {require_vector(name("ffn_norm.weight"), c.embedding)}, {}});
  ops.push_back({OpKind::GatedLinear,
                 {normed_},
                 {gated_},
                 {require(name("ffn_gate.weight"), {c.embedding, c.feed_forward}),
                  require(name("ffn_up.weight"), {c.embedding, c.feed_forward})},
                 {}});
  ops.push_back({OpKind::LinearAdd,
                 {gated_},
                 {kHidden},
                 {require(name("ffn_down.weight"), {c.feed_forward, c.embedding})},
                 {kNoTensor}});
  for (Op& op : ops) op.after_select = last && op.kind != OpKind::SelectOutputs;
  program_.groups.push_back({GroupKind::FeedForward, layer, std::move(ops)});
}

void ProgramBuilder::output() {
  const ModelConfig& c = program_.config;
  TensorIndex head = find("output.weight", {c.embedding, c.vocabulary});
  program_.tied_embeddings = head == kNoTensor;
  if (head == kNoTensor) head = require("token_embd.weight", {c.embedding, c.vocabulary});
  std::vector<Op> ops;
  ops.push_back({OpKind::RmsNorm, {kHidden}, {normed_}, {require_vector("output_norm.weight", c.embedding)}, {}});
  ops.push_back({OpKind::Linear, {normed_}, {logits_}, {head}, {kNoTensor}});
  for (Op& op : ops) op.after_select = true;
  program_.groups.push_back({GroupKind::Output, 0, std::move(ops)});

  program_.rope_factors = model_.find_tensor("rope_freqs.weight");
  if (program_.rope_factors != kNoTensor) {
    program_.rope_factors = require_vector("rope_freqs.weight", c.rope.dimensions / 2);
  }
}

}  // namespace loadline::model
