// A model header made by hand: the metadata and tensor table of a tiny Llama, to be changed by a test.
#pragma once

#include <string>

#include "gguf/gguf.h"

namespace loadline::test {

inline gguf::Value number(std::uint32_t value) { return gguf::Value{value}; }
inline gguf::Value number(float value) { return gguf::Value{value}; }
inline gguf::Value text(std::string value) { return gguf::Value{std::move(value)}; }

inline void add_tensor(gguf::Model& model, std::string name, std::uint64_t columns, std::uint64_t rows = 0) {
  gguf::TensorInfo tensor;
  tensor.name = std::move(name);
  tensor.dimensions = rows == 0 ? 1 : 2;
  tensor.shape = {columns, rows == 0 ? 1 : rows, 1, 1};
  tensor.size = quant::size_of(tensor.type, tensor.elements());
  model.tensors.push_back(tensor);
}

// Two layers, width 64, 4 heads of 16 over 2 KV heads, feed-forward 96, vocabulary 32.
inline gguf::Model small_model(const std::string& architecture = "llama") {
  gguf::Model model;
  auto& metadata = model.metadata;
  const auto key = [&](const char* suffix) { return architecture + "." + suffix; };
  metadata.set("general.architecture", text(architecture));
  metadata.set(key("block_count"), number(2U));
  metadata.set(key("context_length"), number(128U));
  metadata.set(key("embedding_length"), number(64U));
  metadata.set(key("feed_forward_length"), number(96U));
  metadata.set(key("attention.head_count"), number(4U));
  metadata.set(key("attention.head_count_kv"), number(2U));
  metadata.set(key("attention.layer_norm_rms_epsilon"), number(1e-5F));
  add_tensor(model, "token_embd.weight", 64, 32);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    add_tensor(model, prefix + "attn_norm.weight", 64);
    add_tensor(model, prefix + "attn_q.weight", 64, 64);
    add_tensor(model, prefix + "attn_k.weight", 64, 32);
    add_tensor(model, prefix + "attn_v.weight", 64, 32);
    add_tensor(model, prefix + "attn_output.weight", 64, 64);
    add_tensor(model, prefix + "ffn_norm.weight", 64);
    add_tensor(model, prefix + "ffn_gate.weight", 64, 96);
    add_tensor(model, prefix + "ffn_up.weight", 64, 96);
    add_tensor(model, prefix + "ffn_down.weight", 96, 64);
    if (architecture == "qwen2") {
      add_tensor(model, prefix + "attn_q.bias", 64);
      add_tensor(model, prefix + "attn_k.bias", 32);
      add_tensor(model, prefix + "attn_v.bias", 32);
    }
    if (architecture == "qwen3") {
      add_tensor(model, prefix + "attn_q_norm.weight", 16);
      add_tensor(model, prefix + "attn_k_norm.weight", 16);
    }
  }
  add_tensor(model, "output_norm.weight", 64);
  add_tensor(model, "output.weight", 64, 32);
  return model;
}

}  // namespace loadline::test
