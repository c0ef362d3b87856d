#include "model/builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "base/text.h"

namespace loadline::model {

ProgramBuilder::ProgramBuilder(const gguf::Model& model, ModelConfig config, Keys& keys)
    : model_(model), keys_(keys), file_layers_(config.layers) {
  program_.config = std::move(config);
  const TensorIndex embedding = model.find_tensor("token_embd.weight");
  if (embedding == kNoTensor) throw bad_input("the model has no tensor token_embd.weight");
  const std::uint64_t rows = model.tensors[static_cast<std::size_t>(embedding)].shape[1];
  const auto* tokens = model.metadata.get_strings("tokenizer.ggml.tokens");
  if (tokens != nullptr && tokens->size() != rows) {
    throw bad_input(
        fmt::format("token_embd.weight has {} rows, but tokenizer.ggml.tokens has {} entries", rows, tokens->size()));
  }
  set_vocabulary(rows);
}

ProgramBuilder::ProgramBuilder(gguf::Model& growing, std::function<bool(std::string_view)> wanted, ModelConfig config,
                               Keys& keys)
    : model_(growing), growing_(&growing), wanted_(std::move(wanted)), keys_(keys), file_layers_(config.layers) {
  program_.config = std::move(config);
  set_vocabulary(keys_.count("vocab_size", std::uint64_t{1} << 24));
}

void ProgramBuilder::set_vocabulary(std::uint64_t rows) {
  if (rows > (std::uint64_t{1} << 24)) throw bad_input(fmt::format("token_embd.weight has {} rows, too many", rows));
  program_.config.vocabulary = static_cast<std::uint32_t>(rows);
  carried_value("hidden", program_.config.embedding);
}

void ProgramBuilder::refuse_missing(std::string_view suffix) const {
  const std::string key = keys_.key(suffix);
  throw bad_input(keys_.has(suffix) ? fmt::format("{} is 0", key) : fmt::format("the model has no {}", key),
                  "The file is not a complete model of this family.");
}

void ProgramBuilder::dense() {
  const std::uint32_t experts = keys_.find_count("expert_count", kMostExperts, 0).value_or(0);
  keys_.accept("expert_used_count");
  if (experts > 1) {
    throw bad_input(fmt::format("the model is a mixture of {} experts, which the family \"{}\" has not", experts,
                                config().architecture));
  }
}

void ProgramBuilder::skip_prediction_layers() {
  const std::uint32_t skipped = keys_.find_count("nextn_predict_layers", kMostLayers, 0).value_or(0);
  if (skipped == 0) return;
  ModelConfig& c = config();
  if (skipped >= c.layers) {
    throw bad_input(
        fmt::format("{} is {}, but the model has {} layers", keys_.key("nextn_predict_layers"), skipped, c.layers));
  }
  c.layers -= skipped;
  c.layer.resize(c.layers);
  program_.remarks.push_back(
      fmt::format("The last {} of {} layers only predict further tokens and are left aside.", skipped, file_layers_));
}

bool ProgramBuilder::has_experts() { return keys_.find_count("expert_count", kMostExperts, 0).value_or(0) > 1; }

std::uint32_t ProgramBuilder::leading_dense_layers() {
  return keys_.find_count("leading_dense_block_count", kMostLayers, 0).value_or(0);
}

ExpertStyle ProgramBuilder::experts(ExpertStyle style) {
  const auto count = [&](std::string_view suffix, std::uint64_t most) {
    return keys_.find_count(suffix, most, 0).value_or(0);
  };
  style.experts = needed(count("expert_count", kMostExperts), "expert_count");
  style.used = needed(count("expert_used_count", kMostExperts), "expert_used_count");
  if (style.used > style.experts) {
    throw bad_input(fmt::format("{} ({}) is more than {} ({})", keys_.key("expert_used_count"), style.used,
                                keys_.key("expert_count"), style.experts));
  }
  if (const std::uint32_t width = count("expert_feed_forward_length", kMostWidth); width > 0) style.width = width;
  needed(style.width, "expert_feed_forward_length");
  if (const std::uint32_t gating = count("expert_gating_func", 4); gating > 0) {
    style.gating = std::array{ops::Gating::Softmax, ops::Gating::Sigmoid, ops::Gating::SoftmaxOfChosen,
                              ops::Gating::SqrtSoftplus}[gating - 1];
  }
  style.normalize = keys_.find_flag("expert_weights_norm").value_or(style.normalize);
  const float scale = keys_.find_number("expert_weights_scale").value_or(0.0F);
  if (scale != 0) style.scale = scale;
  const std::uint32_t groups = count("expert_group_count", kMostExperts);
  const std::uint32_t groups_used = count("expert_group_used_count", kMostExperts);
  if (groups > 1) {
    style.groups = groups;
    style.groups_used = needed(groups_used, "expert_group_used_count");
    const std::uint32_t each = style.experts / groups;
    if (style.experts % groups != 0 || groups_used > groups || style.used > groups_used * each) {
      throw bad_input(fmt::format("{} of {} groups of experts do not have {} of {} experts", groups_used, groups,
                                  style.used, style.experts));
    }
  }
  keys_.accept("expert_shared_count");  // a width tells as much, where a family does not read it
  return style;
}

std::optional<std::vector<bool>> ProgramBuilder::layer_flags(std::string_view suffix) {
  auto flags = keys_.find_flags(suffix, file_layers_);
  if (flags) flags->resize(config().layers);
  return flags;
}

std::vector<bool> ProgramBuilder::window_layers(std::uint32_t pattern) {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  if (keys_.is_array(kKey)) return *layer_flags(kKey);
  const std::uint32_t period = keys_.find_count(kKey, kMostLayers, 0).value_or(pattern);
  std::vector<bool> windows;
  for (std::uint32_t i = 0; i < config().layers; ++i) windows.push_back(period == 0 || i % period < period - 1);
  return windows;
}

RopeIndex ProgramBuilder::rope(bool neox) {
  config().rope.neox = neox;
  return rope_table(config().rope, find_floats("rope_freqs.weight", {config().rope.dimensions / 2}));
}

RopeIndex ProgramBuilder::rope_table(RopeConfig rope, TensorIndex factors, TensorIndex long_factors) {
  const auto same = [&](const RopeTable& other) {
    return other.config == rope && other.factors == factors && other.long_factors == long_factors;
  };
  const auto found = std::ranges::find_if(program_.ropes, same);
  if (found != program_.ropes.end()) return static_cast<RopeIndex>(found - program_.ropes.begin());
  program_.ropes.push_back({rope, factors, long_factors});
  return static_cast<RopeIndex>(program_.ropes.size() - 1);
}

RopeIndex ProgramBuilder::rope_with_long_factors(RopeConfig rope) {
  const std::uint64_t pairs = rope.dimensions / 2;
  const TensorIndex plain = find_floats("rope_freqs.weight", {pairs});
  if (plain != kNoTensor) return rope_table(rope, plain);
  const TensorIndex far = find_floats("rope_factors_long.weight", {pairs});
  const TensorIndex near = find_floats("rope_factors_short.weight", {pairs});
  if ((far == kNoTensor) != (near == kNoTensor)) {
    throw bad_input("the model has only one of the tensors rope_factors_long.weight and rope_factors_short.weight");
  }
  return rope_table(rope, near, far);
}

void ProgramBuilder::layers(const AttentionStyle& attention, const FeedForwardStyle& feed_forward) {
  dense();
  for (std::uint32_t i = 0; i < config().layers; ++i) {
    this->attention(i, attention);
    this->feed_forward(i, feed_forward);
  }
}

void ProgramBuilder::begin(GroupKind kind, std::uint32_t layer) { program_.groups.push_back({kind, layer, {}}); }

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

ValueId ProgramBuilder::carried_value(std::string_view name, std::uint32_t width) {
  const ValueId id = value(name, width);
  program_.values[id].carried = true;
  return id;
}

std::string ProgramBuilder::name(std::string_view suffix) const {
  return fmt::format("blk.{}.{}", program_.groups.back().layer, suffix);
}

CacheIndex ProgramBuilder::cache(Cache cache) {
  cache.layer = program_.groups.back().layer;
  program_.caches.push_back(cache);
  return static_cast<CacheIndex>(program_.caches.size() - 1);
}

bool ProgramBuilder::has(std::string_view name) const {
  return model_.find_tensor(name) != kNoTensor || (growing_ != nullptr && wanted_(name));
}

TensorIndex ProgramBuilder::make(std::string_view name, std::initializer_list<std::uint64_t> shape) {
  gguf::TensorInfo tensor;
  tensor.name = name;
  tensor.dimensions = static_cast<std::uint32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), tensor.shape.begin());
  tensor.size = quant::size_of(tensor.type, tensor.elements());
  growing_->tensors.push_back(std::move(tensor));
  return static_cast<TensorIndex>(growing_->tensors.size() - 1);
}

TensorIndex ProgramBuilder::find(std::string_view name, std::initializer_list<std::uint64_t> shape) {
  const TensorIndex index = model_.find_tensor(name);
  if (index == kNoTensor) return growing_ != nullptr && wanted_(name) ? make(name, shape) : kNoTensor;
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
  if (index == kNoTensor && growing_ != nullptr) return make(name, shape);
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
  require(name, shape);
  return find_floats(name, shape);
}

// Biases count where a file has them, whether or not its family usually does (Llama with attention_bias or mlp_bias).
ops::LinearPart ProgramBuilder::matrix(std::string_view name, std::uint64_t columns, std::uint64_t rows,
                                       bool needs_bias) {
  ops::LinearPart part = rows_of(name, columns, 0, rows, rows);
  if (needs_bias) part.bias = require_floats(fmt::format("{}.bias", name), {rows});
  return part;
}

ops::LinearPart ProgramBuilder::rows_of(std::string_view name, std::uint64_t columns, std::uint64_t first,
                                        std::uint64_t rows, std::uint64_t all) {
  ops::LinearPart part;
  part.tensor = require(fmt::format("{}.weight", name), {columns, all});
  part.first_row = first;
  part.rows = rows;
  part.bias = find_floats(fmt::format("{}.bias", name), {all});
  part.scale = find_floats(fmt::format("{}.scale", name), {1});
  part.whole = rows == all;
  return part;
}

// Behind the last operation that looks at other tokens only the rows that logits are wanted for go on.
void ProgramBuilder::select_outputs() {
  std::size_t last = 0;
  for (std::size_t g = 0; g < program_.groups.size(); ++g) {
    if (std::ranges::any_of(program_.groups[g].ops, &Op::mixes_tokens)) last = g;
  }
  std::vector<ValueId> kept;
  for (std::size_t g = last + 1; g < program_.groups.size(); ++g) {
    for (Op& op : program_.groups[g].ops) {
      op.after_select = true;
      for (const ValueId input : op.inputs) {
        if (program_.values[input].carried && std::ranges::find(kept, input) == kept.end()) kept.push_back(input);
      }
    }
  }
  std::ranges::sort(kept);
  std::vector<Op>& ops = program_.groups[last + 1].ops;
  ops.insert(ops.begin(), Op(ops::SelectOutputs{}, kept, kept));
  // What has a row for each output has no room for all tokens.
  for (const Group& group : program_.groups) {
    for (const Op& op : group.ops) {
      for (const ValueId output : op.outputs) {
        if (op.after_select || !program_.values[output].outputs_only) continue;
        throw Error(ErrorCode::Internal, fmt::format("{} is written before rows are selected, and has none for others",
                                                     program_.values[output].name));
      }
    }
  }
}

namespace {

// Frequencies that follow from the metadata, which converters wrote.
bool is_harmless(std::string_view name) {
  return name.ends_with(".attn_rot_embd.weight") || name.ends_with(".rotary_emb.inv_freq") ||
         name == "rope_freqs.weight";
}

// Of one of the layers from `first` on.
bool is_behind(std::string_view name, std::uint32_t first) {
  constexpr std::string_view kBlock = "blk.";
  if (!name.starts_with(kBlock)) return false;
  std::uint32_t layer = 0;
  const auto [end, problem] = std::from_chars(name.data() + kBlock.size(), name.data() + name.size(), layer);
  return problem == std::errc() && end != name.data() + name.size() && *end == '.' && layer >= first;
}

}  // namespace

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
  std::vector<std::string_view> unread;
  for (std::size_t i = 0; i < read.size(); ++i) {
    const std::string& name = model_.tensors[i].name;
    const bool left_aside = config().layers < file_layers_ && is_behind(name, config().layers);
    if (!read[i] && !left_aside && !is_harmless(name)) unread.push_back(name);
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
  keys_.accept("rope.scaling.finetuned");  // says what was done in training, where it is not read
  if (!keys_.find_flag("attention.causal").value_or(true)) {
    throw bad_input(fmt::format("{} is false, which is not supported", keys_.key("attention.causal")),
                    "It is a model for embeddings.");
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
