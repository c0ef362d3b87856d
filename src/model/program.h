// The layer program: which operations a model is, in order, on which tensors, intermediate values and caches.
// A description only: it owns no memory and runs nothing. Every family is a short function that writes one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"
#include "model/config.h"
#include "model/operations.h"

namespace loadline::model {

// Intermediate values, float32, [rows][width]. `rows` is the tokens of the batch, or its outputs after SelectOutputs.
// (The pairs of a Route take two values' places each.)
struct Value {
  std::string name;
  std::uint32_t width = 0;    // floats per row
  bool outputs_only = false;  // has a row per output instead of a row per token (logits)
  bool carried = false;       // lives across groups, as the hidden state does
};
inline constexpr ValueId kHidden = 0;  // the residual stream

// What a layer keeps of earlier tokens, for each sequence.
enum class CacheKind : std::uint8_t {
  Full,    // keys and values of every position
  Window,  // keys and values of the last `window` positions
  Latent,  // of every position one row of head_dim_k values, which keys and values of all heads are made of
  State,   // `state` float32, overwritten by every token: it cannot be cut back to an earlier one
};
std::string_view name_of(CacheKind kind);
struct Cache {
  CacheKind kind = CacheKind::Full;
  std::uint32_t layer = 0;  // whose it is
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim_k = 0;
  std::uint32_t head_dim_v = 0;  // Latent: 0
  std::uint32_t window = 0;      // Window: how many positions, its own included, a token sees at most
  std::uint32_t state = 0;       // State
};

// The angles that rope turns by. Several uses may share a table.
struct RopeTable {
  RopeConfig config;
  // Divide the frequencies, dimensions / 2 float32 each. Where there are two, the long ones are taken for a context
  // (as allocated, not the position) of more than config.original_context.
  TensorIndex factors = kNoTensor;
  TensorIndex long_factors = kNoTensor;

  [[nodiscard]] TensorIndex factors_for(std::uint32_t context) const {
    return long_factors != kNoTensor && context > config.original_context ? long_factors : factors;
  }
};

// The unit of placement.
enum class GroupKind : std::uint8_t { Embedding, Attention, FeedForward, Output };
struct Group {
  GroupKind kind;           // Attention: or whatever else mixes tokens in that layer
  std::uint32_t layer = 0;  // Attention and FeedForward
  std::vector<Op> ops;

  [[nodiscard]] std::string name() const;  // "blk.7.attn", "blk.7.ffn", "token_embd", "output"
  // Every tensor the group reads, each once, in the order of use.
  [[nodiscard]] std::vector<TensorIndex> tensors() const;
};

struct Program {
  ModelConfig config;
  std::vector<Value> values;
  std::vector<Group> groups;  // in order: embedding, (attention, feed-forward, or one of them) per layer, output
  std::vector<Cache> caches;
  std::vector<RopeTable> ropes;
  ValueId logits = 0;
  ValueId normed = 0;            // what the output matrix is multiplied with; stays after the pass, as logits do
  bool tied_embeddings = false;  // the output matrix is token_embd.weight
  // Sentences for the user: what of the file is left aside, and that it may be.
  std::vector<std::string> remarks;
};

// Reads the configuration and writes the program of the model's family. Throws Error(BadInput) for an unknown family
// (naming those we know), for a tensor that is missing or has another shape than the configuration says, and for
// tensors and keys of the family's ("llama....") that nothing reads.
Program build_program(const gguf::Model& model);

// The tensors that a model with these metadata (vocab_size among them) has at least, and of those it may have the ones
// that `wanted` names: in the order of use, float32, without a place in a file. Throws as build_program does.
std::vector<gguf::TensorInfo> make_tensors(const gguf::Metadata& metadata,
                                           const std::function<bool(std::string_view)>& wanted);

// The families build_program knows, as general.architecture names them.
std::vector<std::string_view> known_families();

}  // namespace loadline::model
