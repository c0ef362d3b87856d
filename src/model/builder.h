// What the families write their layer programs with: tensors looked up and checked by name and shape, values, and the
// blocks that most transformers share. It does not know any family.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "model/keys.h"
#include "model/program.h"

namespace loadline::model {

// What differs between the attention blocks of the families.
struct AttentionStyle {
  bool biases = false;     // attn_q.bias, attn_k.bias, attn_v.bias must be there
  bool head_norm = false;  // attn_q_norm and attn_k_norm, per head, before rope
};

class ProgramBuilder {
 public:
  ProgramBuilder(const gguf::Model& model, ModelConfig config, Keys& keys);

  ModelConfig& config() { return program_.config; }
  Keys& keys() { return keys_; }

  // The file must not be a mixture of experts.
  void dense();

  void embedding();
  void attention(std::uint32_t layer, AttentionStyle style);
  void feed_forward(std::uint32_t layer);
  void output();

  // Puts the selection of outputs where it belongs and refuses what of the file nothing has read.
  Program finish();

 private:
  // Groups and operations, appended.
  void begin(GroupKind kind, std::uint32_t layer = 0) { program_.groups.push_back({kind, layer, {}}); }
  void append(OpAttributes attributes, std::vector<ValueId> inputs, std::vector<ValueId> outputs);
  // The value of this name and width, the same in every layer.
  ValueId value(std::string_view name, std::uint32_t width);
  // "blk.N.SUFFIX" of the group's layer.
  [[nodiscard]] std::string layer_name(std::string_view suffix) const;

  // Index of a tensor that must be there with this shape (innermost first). Throws Error(BadInput) otherwise.
  TensorIndex require(std::string_view name, std::initializer_list<std::uint64_t> shape);
  // kNoTensor where it is not there.
  TensorIndex find(std::string_view name, std::initializer_list<std::uint64_t> shape);
  // A tensor of float32 that is read element by element (norms, biases).
  TensorIndex require_floats(std::string_view name, std::initializer_list<std::uint64_t> shape);
  TensorIndex find_floats(std::string_view name, std::initializer_list<std::uint64_t> shape);
  // NAME.weight, with NAME.bias and NAME.scale where the file has them.
  ops::LinearPart matrix(std::string_view name, std::uint64_t columns, std::uint64_t rows, bool needs_bias = false);

  RopeIndex rope_table(RopeConfig config);
  // The number, read from `suffix`, unless it is missing or 0. Throws Error(BadInput) then.
  template <class Number>
  Number needed(Number number, std::string_view suffix);
  float rms_epsilon();
  void select_outputs();
  void check_tensors();
  void check_keys();

  const gguf::Model& model_;
  Keys& keys_;
  Program program_;
};

}  // namespace loadline::model
