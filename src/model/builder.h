// What the families write their layer programs with: tensors looked up and checked by name and shape, and the blocks
// that most transformers share. It does not know any family.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "model/program.h"

namespace loadline::model {

// What differs between the attention blocks of the families.
struct AttentionStyle {
  bool biases = false;     // attn_q.bias, attn_k.bias, attn_v.bias must be there
  bool head_norm = false;  // attn_q_norm and attn_k_norm, per head, before rope
};

class ProgramBuilder {
 public:
  ProgramBuilder(const gguf::Model& model, ModelConfig config);

  ModelConfig& config() { return program_.config; }

  void embedding();
  void attention(std::uint32_t layer, AttentionStyle style);
  void feed_forward(std::uint32_t layer);
  void output();
  Program finish() { return std::move(program_); }

 private:
  // Index of a tensor that must be there with this shape (innermost first). Throws Error(BadInput) otherwise.
  TensorIndex require(std::string_view name, std::initializer_list<std::uint64_t> shape) const;
  // kNoTensor where it is not there.
  TensorIndex find(std::string_view name, std::initializer_list<std::uint64_t> shape) const;
  // A vector of float32 that element-wise operations read (norms, biases).
  TensorIndex require_vector(std::string_view name, std::uint64_t length) const;
  ValueId value(std::string name, std::uint32_t width, bool outputs_only = false);

  const gguf::Model& model_;
  Program program_;
  ValueId normed_, q_, k_, v_, mixed_, gated_, logits_;
};

}  // namespace loadline::model
