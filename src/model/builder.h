// What the families write their layer programs with: tensors looked up and checked by name and shape, values, and the
// blocks that most transformers share. It does not know any family.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/keys.h"
#include "model/program.h"
#include "model/styles.h"

namespace loadline::model {

class ProgramBuilder {
 public:
  ProgramBuilder(const gguf::Model& model, ModelConfig config, Keys& keys);
  // For a model that is to be made: tensors that are not there are added to it, those that must be, and of the others
  // those that `wanted` names.
  ProgramBuilder(gguf::Model& growing, std::function<bool(std::string_view)> wanted, ModelConfig config, Keys& keys);

  [[nodiscard]] ModelConfig& config() { return program_.config; }
  [[nodiscard]] const LayerConfig& layer(std::uint32_t layer) const { return program_.config.layer[layer]; }
  [[nodiscard]] Keys& keys() { return keys_; }

  // --- Hyper-parameters that several families have.

  // The model's norms from here on. RMS norms have no biases; layer norms have them where the file does.
  void norms(ops::NormKind kind) { norm_kind_ = kind; }
  // The file must not be a mixture of experts.
  void dense();
  // Layers at the end that predict further tokens are left aside.
  void skip_prediction_layers();
  [[nodiscard]] bool has_experts();
  // What the file says of its experts, and `style` where it says nothing; a width must be either's.
  ExpertStyle experts(ExpertStyle style = {});
  // The first so many layers have no experts.
  std::uint32_t leading_dense_layers();
  // attention.scale; 0 where the file does not say.
  float attention_scale() { return keys_.find_number("attention.scale").value_or(0.0F); }
  // Which layers have a window: sliding_window_pattern, a list of flags or a number (the last of each so many layers
  // has none), `pattern` where there is no such key.
  std::vector<bool> window_layers(std::uint32_t pattern);
  // A list of flags, one for each layer.
  std::optional<std::vector<bool>> layer_flags(std::string_view suffix);
  // The configuration's rope, over pairs of neighbours or (neox) half the dimensions apart, with rope_freqs.weight
  // where the file has it.
  RopeIndex rope(bool neox);
  RopeIndex rope_table(RopeConfig config, TensorIndex factors = kNoTensor, TensorIndex long_factors = kNoTensor);
  // rope_factors_long.weight and _short, or rope_freqs.weight; kNoTensor where the file has none.
  RopeIndex rope_with_long_factors(RopeConfig config);
  // The number, read from `suffix`. Throws Error(BadInput) where it is missing or 0.
  template <class Number>
  Number needed(Number number, std::string_view suffix) {
    if (number == Number{}) refuse_missing(suffix);
    return number;
  }

  // --- Blocks of a layer. Each of the first six begins a group.

  void embedding(float factor = 1);
  void attention(std::uint32_t layer, const AttentionStyle& style);
  void latent_attention(std::uint32_t layer, const LatentStyle& style);
  void feed_forward(std::uint32_t layer, const FeedForwardStyle& style = {});
  void expert_feed_forward(std::uint32_t layer, const FeedForwardStyle& style, const ExpertStyle& experts);
  void output(const OutputStyle& style = {});
  // All layers, dense and alike.
  void layers(const AttentionStyle& attention, const FeedForwardStyle& feed_forward = {});

  // --- Their pieces, in the group that was begun last.

  void begin(GroupKind kind, std::uint32_t layer = 0);
  void append(OpAttributes attributes, std::vector<ValueId> inputs, std::vector<ValueId> outputs);
  // The value of this name and width, the same in every layer.
  ValueId value(std::string_view name, std::uint32_t width);
  // One that lives across groups.
  ValueId carried_value(std::string_view name, std::uint32_t width);
  [[nodiscard]] std::uint32_t width(ValueId value) const { return program_.values[value].width; }
  // "blk.N.SUFFIX" of the group's layer.
  [[nodiscard]] std::string name(std::string_view suffix) const;
  CacheIndex cache(Cache cache);
  [[nodiscard]] const Program& program() const { return program_; }

  // `in`, normalised by the tensor NAME.weight (and its bias), in the value `to`, which may be `in`.
  void norm(ValueId in, ValueId to, std::string_view tensor);
  // Each of `parts` runs of the row.
  void norm_parts(ValueId in, ValueId to, std::string_view tensor, std::uint32_t parts, bool weight_per_part = false);
  ValueId linear(ValueId in, std::string_view tensor, std::uint32_t rows, std::string_view value_name);
  // Adds TENSOR * in to the hidden state, in the style of the branch.
  void add_branch(ValueId in, std::string_view tensor, const BranchStyle& style);
  // Adds a block's result, which is finished.
  void add_result(ValueId in, const BranchStyle& style);
  // The feed-forward proper: from its normalised input to what is added.
  ValueId gated_values(ValueId in, const FeedForwardStyle& style, std::string_view gate, std::string_view up,
                       std::uint32_t width);
  ValueId route(ValueId in, const ExpertStyle& experts);
  // `width` of the result.
  ValueId expert_values(ValueId in, ValueId route, const ExpertStyle& experts);
  ValueId feed_forward_input(const FeedForwardStyle& style);

  // Index of a tensor that must be there with this shape (innermost first). Throws Error(BadInput) otherwise.
  TensorIndex require(std::string_view name, std::initializer_list<std::uint64_t> shape);
  // kNoTensor where it is not there.
  TensorIndex find(std::string_view name, std::initializer_list<std::uint64_t> shape);
  [[nodiscard]] bool has(std::string_view name) const;
  // A tensor of float32 that is read element by element (norms, biases).
  TensorIndex require_floats(std::string_view name, std::initializer_list<std::uint64_t> shape);
  TensorIndex find_floats(std::string_view name, std::initializer_list<std::uint64_t> shape);
  // NAME.weight, with NAME.bias and NAME.scale where the file has them.
  ops::LinearPart matrix(std::string_view name, std::uint64_t columns, std::uint64_t rows, bool needs_bias = false);
  // Rows `first` to `first + rows` of one of `all` rows.
  ops::LinearPart rows_of(std::string_view name, std::uint64_t columns, std::uint64_t first, std::uint64_t rows,
                          std::uint64_t all);

  // Puts the selection of outputs where it belongs and refuses what of the file nothing has read.
  Program finish();

 private:
  struct Heads {  // of q, k and v
    ValueId q, k, v;
  };
  Heads project(ValueId in, const LayerConfig& own, const AttentionStyle& style);
  void normalize_heads(const Heads& heads, const LayerConfig& own, const AttentionStyle& style);
  ops::ExpertPart expert_part(std::string_view name, std::uint64_t columns, std::uint64_t first, std::uint64_t rows,
                              std::uint64_t all, const ExpertStyle& experts);
  void set_vocabulary(std::uint64_t rows);
  TensorIndex make(std::string_view name, std::initializer_list<std::uint64_t> shape);
  [[noreturn]] void refuse_missing(std::string_view suffix) const;
  float epsilon();
  void select_outputs();
  void check_tensors();
  void check_keys();

  const gguf::Model& model_;
  gguf::Model* growing_ = nullptr;
  std::function<bool(std::string_view)> wanted_;
  Keys& keys_;
  Program program_;
  ops::NormKind norm_kind_ = ops::NormKind::Rms;
  std::uint32_t file_layers_ = 0;     // with those left aside
  ValueId parallel_input_ = kHidden;  // of the next feed-forward; kHidden: it is not parallel
};

}  // namespace loadline::model
