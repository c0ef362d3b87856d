// The layer program: which operations a model is, in order, on which tensors and which intermediate values.
// A description only: it owns no memory and runs nothing. Every family is a short function that writes one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"
#include "model/config.h"

namespace loadline::model {

// Intermediate values, float32, [rows][width]. `rows` is the tokens of the batch, or its outputs after SelectOutputs.
using ValueId = std::uint32_t;
struct Value {
  std::string name;
  std::uint32_t width = 0;    // floats per row
  bool outputs_only = false;  // has a row per output instead of a row per token (logits)
};
inline constexpr ValueId kHidden = 0;  // the residual stream; the only value that lives across groups

// Index into gguf::Model::tensors; kNoTensor where an operation has none (a bias that is not there).
using TensorIndex = std::int32_t;
inline constexpr TensorIndex kNoTensor = -1;

enum class OpKind : std::uint8_t {
  Embed,          // outputs[0] = rows of tensors[0] at the batch's token ids
  RmsNorm,        // outputs[0] = inputs[0] / rms * tensors[0]
  Linear,         // outputs[i] = tensors[i] * inputs[0] (+ biases[i]): one input, several matrices
  HeadNorm,       // inputs[0] in place: RmsNorm of each head with tensors[0] ([head_dim])
  Rope,           // inputs[0] (q) and inputs[1] (k) in place
  Attention,      // stores k, v in the layer's cache, then outputs[0] = attention(q, cache); inputs q, k, v
  LinearAdd,      // outputs[0] += tensors[0] * inputs[0] (+ biases[0])
  GatedLinear,    // outputs[0] = silu(tensors[0] * inputs[0]) * (tensors[1] * inputs[0])
  SelectOutputs,  // inputs[0] in place: keep the rows the batch wants logits for; later operations see only those
};
std::string_view name_of(OpKind kind);

struct Op {
  OpKind kind;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::vector<TensorIndex> tensors;
  std::vector<TensorIndex> biases;
  std::uint32_t layer = 0;    // whose KV cache (Attention)
  std::uint32_t heads = 0;    // HeadNorm
  bool after_select = false;  // rows are outputs
};

// The unit of placement.
enum class GroupKind : std::uint8_t { Embedding, Attention, FeedForward, Output };
struct Group {
  GroupKind kind;
  std::uint32_t layer = 0;  // Attention and FeedForward
  std::vector<Op> ops;

  [[nodiscard]] std::string name() const;  // "blk.7.attn", "blk.7.ffn", "token_embd", "output"
  // Every tensor the group reads, each once, in the order of use.
  [[nodiscard]] std::vector<TensorIndex> tensors() const;
};

struct Program {
  ModelConfig config;
  std::vector<Value> values;
  std::vector<Group> groups;             // in order: embedding, (attention, feed-forward) per layer, output
  TensorIndex rope_factors = kNoTensor;  // rope_freqs.weight: divides the frequencies (Llama 3.1 and later)
  ValueId logits = 0;
  bool tied_embeddings = false;  // the output matrix is token_embd.weight
};

// Reads the configuration and writes the program of the model's family. Throws Error(BadInput) for an unknown family
// (naming those we know), and for a tensor that is missing or has another shape than the configuration says.
Program build_program(const gguf::Model& model);

// The families build_program knows: "llama", "qwen2", "qwen3".
std::vector<std::string_view> known_families();

}  // namespace loadline::model
