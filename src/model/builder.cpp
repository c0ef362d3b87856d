#include "model/builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/text.h"

namespace loadline::model {

ProgramBuilder::ProgramBuilder(const gguf::Model& model, ModelConfig config, Keys& keys) : model_(model), keys_(keys) {
  program_.config = std::move(config);
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
  value("hidden", program_.config.embedding);
  program_.values[kHidden].carried = true;
}

void ProgramBuilder::append(OpAttributes attributes, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
  program_.groups.back().ops.emplace_back(std::move(attributes), std::move(inputs), std::move(outputs));
}

ValueId ProgramBuilder::value(std::string_view name, std::uint32_t width) {
  const auto same = [&](const Value& other) { return other.name == name && other.width == width; };
  const auto found = std::ranges::find_if(program_.values, same);
  if (found != program_.values.end()) return static_cast<ValueId>(found - program_.values.begin());
  program_.values.push_back({std::string(name), width});
  return static_cast<ValueId>(program_.values.size() - 1);
}

std::string ProgramBuilder::layer_name(std::string_view suffix) const {
  return fmt::format("blk.{}.{}", program_.groups.back().layer, suffix);
}

TensorIndex ProgramBuilder::find(std::string_view name, std::initializer_list<std::uint64_t> shape) {
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

TensorIndex ProgramBuilder::require(std::string_view name, std::initializer_list<std::uint64_t> shape) {
  const TensorIndex index = find(name, shape);
  if (index == kNoTensor) throw bad_input(fmt::format("the model has no tensor {}", name));
  return index;
}

TensorIndex ProgramBuilder::find_floats(std::string_view name, std::initializer_list<std::uint64_t> shape) {
  const TensorIndex index = find(name, shape);
  if (index == kNoTensor) return kNoTensor;
  const quant::TensorType type = model_.tensors[static_cast<std::size_t>(index)].type;
  if (type != quant::TensorType::F32) {
    throw bad_input(fmt::format("tensor {} is {}; norms, biases and the like must be F32", name, quant::name_of(type)));
  }
  return index;
}

TensorIndex ProgramBuilder::require_floats(std::string_view name, std::initializer_list<std::uint64_t> shape) {
  const TensorIndex index = find_floats(name, shape);
  if (index == kNoTensor) throw bad_input(fmt::format("the model has no tensor {}", name));
  return index;
}

// Biases count where a file has them, whether or not its family usually does (Llama with attention_bias or mlp_bias).
ops::LinearPart ProgramBuilder::matrix(std::string_view name, std::uint64_t columns, std::uint64_t rows,
                                       bool needs_bias) {
  ops::LinearPart part;
  part.tensor = require(fmt::format("{}.weight", name), {columns, rows});
  part.rows = rows;
  const std::string bias = fmt::format("{}.bias", name);
  part.bias = needs_bias ? require_floats(bias, {rows}) : find_floats(bias, {rows});
  part.scale = find_floats(fmt::format("{}.scale", name), {1});
  return part;
}

template <class Number>
Number ProgramBuilder::needed(Number number, std::string_view suffix) {
  if (number != Number{}) return number;
  throw bad_input(keys_.has(suffix) ? fmt::format("{} is 0", keys_.key(suffix))
                                    : fmt::format("the model has no {}", keys_.key(suffix)),
                  "The file is not a complete model of this family.");
}

float ProgramBuilder::rms_epsilon() { return needed(config().rms_epsilon, "attention.layer_norm_rms_epsilon"); }

RopeIndex ProgramBuilder::rope_table(RopeConfig rope) {
  if (program_.ropes.empty()) {
    RopeTable table{rope};
    table.factors = find_floats("rope_freqs.weight", {rope.dimensions / 2});
    program_.ropes.push_back(table);
  }
  return 0;
}

void ProgramBuilder::dense() {
  const std::uint32_t experts = keys_.find_count("expert_count", kMostExperts, 0).value_or(0);
  keys_.accept("expert_used_count");
  if (experts > 1) {
    throw bad_input(fmt::format("the model is a mixture of {} experts, which is not supported yet", experts));
  }
}

void ProgramBuilder::embedding() {
  const ModelConfig& c = config();
  begin(GroupKind::Embedding);
  append(ops::Embed{.table = require("token_embd.weight", {c.embedding, c.vocabulary})}, {}, {kHidden});
}

void ProgramBuilder::attention(std::uint32_t layer, AttentionStyle style) {
  begin(GroupKind::Attention, layer);
  const ModelConfig& c = config();
  const LayerConfig& own = c.layer[layer];
  needed(own.heads, "attention.head_count");
  const std::uint32_t q_width = own.heads * c.head_dim_k;
  const std::uint32_t k_width = own.kv_heads * c.head_dim_k;
  const std::uint32_t v_width = own.kv_heads * c.head_dim_v;
  const std::uint32_t o_width = own.heads * c.head_dim_v;
  const ValueId normed = value("normed", c.embedding);
  const ValueId q = value("q", q_width);
  const ValueId k = value("k", k_width);
  const ValueId v = value("v", v_width);
  const ValueId mixed = value("attention", o_width);
  const auto norm = [&](std::string_view name, std::uint32_t part, std::uint32_t parts) {
    return ops::Norm{
        .epsilon = rms_epsilon(), .part = part, .parts = parts, .weight = require_floats(layer_name(name), {part})};
  };
  append(norm("attn_norm.weight", c.embedding, 1), {kHidden}, {normed});
  append(ops::Linear{{matrix(layer_name("attn_q"), c.embedding, q_width, style.biases),
                      matrix(layer_name("attn_k"), c.embedding, k_width, style.biases),
                      matrix(layer_name("attn_v"), c.embedding, v_width, style.biases)}},
         {normed}, {q, k, v});
  if (style.head_norm) {
    append(norm("attn_q_norm.weight", c.head_dim_k, own.heads), {q}, {q});
    append(norm("attn_k_norm.weight", c.head_dim_k, own.kv_heads), {k}, {k});
  }
  append(ops::Rope{.table = rope_table(c.rope), .head_dim = c.head_dim_k}, {q, k}, {q, k});
  ops::Attention attention;
  attention.cache = static_cast<CacheIndex>(program_.caches.size());
  attention.heads = own.heads;
  attention.kv_heads = own.kv_heads;
  attention.head_dim_k = c.head_dim_k;
  attention.head_dim_v = c.head_dim_v;
  attention.scale = 1.0F / std::sqrt(static_cast<float>(c.head_dim_k));
  append(attention, {q, k, v}, {mixed});
  program_.caches.push_back({CacheKind::Full, layer, own.kv_heads, c.head_dim_k, c.head_dim_v});
  append(ops::Linear{{matrix(layer_name("attn_output"), o_width, c.embedding)}, true}, {mixed}, {kHidden});
}

void ProgramBuilder::feed_forward(std::uint32_t layer) {
  begin(GroupKind::FeedForward, layer);
  const ModelConfig& c = config();
  const std::uint32_t width = needed(c.layer[layer].feed_forward, "feed_forward_length");
  const ValueId normed = value("normed", c.embedding);
  const ValueId gated = value("gated", width);
  append(ops::Norm{.epsilon = rms_epsilon(),
                   .part = c.embedding,
                   .weight = require_floats(layer_name("ffn_norm.weight"), {c.embedding})},
         {kHidden}, {normed});
  append(ops::GatedLinear{{matrix(layer_name("ffn_gate"), c.embedding, width),
                           matrix(layer_name("ffn_up"), c.embedding, width)}},
         {normed}, {gated});
  append(ops::Linear{{matrix(layer_name("ffn_down"), width, c.embedding)}, true}, {gated}, {kHidden});
}

void ProgramBuilder::output() {
  begin(GroupKind::Output);
  const ModelConfig& c = config();
  const ValueId normed = value("normed", c.embedding);
  program_.logits = value("logits", c.vocabulary);
  program_.values[program_.logits].outputs_only = true;
  append(
      ops::Norm{
          .epsilon = rms_epsilon(), .part = c.embedding, .weight = require_floats("output_norm.weight", {c.embedding})},
      {kHidden}, {normed});
  program_.tied_embeddings = find("output.weight", {c.embedding, c.vocabulary}) == kNoTensor;
  append(ops::Linear{{matrix(program_.tied_embeddings ? "token_embd" : "output", c.embedding, c.vocabulary)}}, {normed},
         {program_.logits});
}

// Behind the last operation that looks at other tokens only the rows that logits are wanted for go on.
void ProgramBuilder::select_outputs() {
  std::size_t last = 0;
  for (std::size_t g = 0; g < program_.groups.size(); ++g) {
    if (std::ranges::any_of(program_.groups[g].ops, &Op::mixes_tokens)) last = g;
  }
  std::vector<ValueId> carried;
  for (std::size_t value = 0; value < program_.values.size(); ++value) {
    const auto reads = [&](const Op& op) {
      return std::ranges::find(op.inputs, static_cast<ValueId>(value)) != op.inputs.end();
    };
    const auto group_reads = [&](const Group& group) { return std::ranges::any_of(group.ops, reads); };
    if (program_.values[value].carried && std::any_of(program_.groups.begin() + static_cast<std::ptrdiff_t>(last) + 1,
                                                      program_.groups.end(), group_reads)) {
      carried.push_back(static_cast<ValueId>(value));
    }
  }
  for (std::size_t g = last + 1; g < program_.groups.size(); ++g) {
    for (Op& op : program_.groups[g].ops) op.after_select = true;
  }
  std::vector<Op>& ops = program_.groups[last + 1].ops;
  ops.insert(ops.begin(), Op(ops::SelectOutputs{}, carried, carried));
}

void ProgramBuilder::check_tensors() {
  std::vector<bool> read(model_.tensors.size(), false);
  for (const Group& group : program_.groups) {
    for (const Op& op : group.ops) {
      for (const TensorUse& use : op.tensors) read[static_cast<std::size_t>(use.tensor)] = true;
    }
  }
  for (const RopeTable& rope : program_.ropes) {
    for (const TensorIndex tensor : {rope.factors, rope.long_factors}) {
      if (tensor != kNoTensor) read[static_cast<std::size_t>(tensor)] = true;
    }
  }
  // Frequencies that follow from the metadata, which older converters wrote for every layer.
  const auto harmless = [](std::string_view name) {
    return name.ends_with(".attn_rot_embd.weight") || name.ends_with(".rotary_emb.inv_freq") ||
           name == "rope_freqs.weight";
  };
  std::vector<std::string_view> unread;
  for (std::size_t i = 0; i < read.size(); ++i) {
    if (!read[i] && !harmless(model_.tensors[i].name)) unread.push_back(model_.tensors[i].name);
  }
  if (unread.empty()) return;
  const std::string others = unread.size() == 1 ? "" : fmt::format(" and {} more", unread.size() - 1);
  throw bad_input(fmt::format("the model has the tensor {}{}, which models of the family \"{}\" do not have here",
                              printable(unread.front()), others, config().architecture),
                  "Leaving tensors out would compute something else than the model.");
}

void ProgramBuilder::check_keys() {
  constexpr std::string_view kFixed = "it is fixed for this family";
  for (const char* suffix : {"rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"}) {
    keys_.ignore(suffix, kFixed);
  }
  const std::vector<std::string> unread = keys_.unread();
  if (!unread.empty()) {
    throw bad_input(fmt::format("the model has the key {}, which is not known for the family \"{}\"",
                                printable(fmt::format("{}", fmt::join(unread, ", "))), config().architecture),
                    "It may change what the model computes, so it is not left out.");
  }
  program_.remarks.insert(program_.remarks.end(), keys_.remarks().begin(), keys_.remarks().end());
}

Program ProgramBuilder::finish() {
  select_outputs();
  check_tensors();
  check_keys();
  return std::move(program_);
}

}  // namespace loadline::model
