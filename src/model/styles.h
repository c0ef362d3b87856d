// What differs between the blocks of the families, as options of the shared builder (builder.h). The defaults are those
// of the plainest models: a norm before each block, rope, all tokens seen, gated SiLU.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "model/operations.h"

namespace loadline::model {

// How the result of a block is added to the hidden state.
struct BranchStyle {
  std::string_view post_norm = {};  // tensor "NAME.weight" of a norm that the result goes through first; empty: none
  float factor = 1;                 // of the result
};

// Whether the feed-forward reads what the attention read.
enum class Parallel : std::uint8_t {
  No,      // its input is the hidden state after the attention
  Same,    // the same normalised state
  OwnNorm  // the hidden state before the attention, by a norm of its own
};

enum class HeadNorm : std::uint8_t {
  None,
  Each,         // RMS over each head: attn_q_norm, attn_k_norm [head size]
  EachIfThere,  // likewise, where the file has them
  Own,          // a layer norm for each head: [head size, heads]
  OwnIfThere,   // likewise, where the file has them
  Rows,         // RMS over all heads together: [heads * head size]
  Unweighted,   // RMS over each head, without weights
};

struct AttentionStyle {
  std::string_view norm = "attn_norm";  // empty: the hidden state as it is
  BranchStyle branch = {};
  Parallel parallel = Parallel::No;
  std::string_view parallel_norm = {};  // OwnNorm: its name

  bool needs_biases = false;  // of q, k and v; elsewhere biases count where the file has them
  bool gated = false;         // attn_q has for each head a query and a gate, by whose sigmoid the result is multiplied
  float clamp = 0;            // q, k and v are clamped; 0: not
  HeadNorm head_norm = HeadNorm::None;
  bool norm_after_rope = false;
  std::optional<RopeIndex> rope = std::nullopt;  // none: positions do not matter, or are added elsewhere

  std::uint32_t head_dim = 0;  // of keys and values; 0: as the model's configuration says
  float scale = 0;             // 0: 1 / sqrt(head size)
  float softcap = 0;
  std::uint32_t window = 0;
  std::uint32_t chunk = 0;
  ops::Temperature temperature = {};
  bool sinks = false;
  float alibi = 0;
};

// Multi-head latent attention, whose keys and values are made of one compressed row for each position.
struct LatentStyle {
  BranchStyle branch = {};
  std::optional<RopeIndex> rope = std::nullopt;
  std::uint32_t rank = 0;        // values of the compressed row, without the rotated part
  std::uint32_t query_rank = 0;  // 0: queries are projected directly
  std::uint32_t rotated = 0;     // of each head, its last values; one part for all heads of the keys
  std::uint32_t head_dim = 0;    // of a query
  std::uint32_t value_dim = 0;
  float scale = 0;
  ops::Temperature temperature = {};
};

struct FeedForwardStyle {
  std::string_view norm =
      "ffn_norm";  // empty: the hidden state as it is; not looked at where the attention is parallel
  BranchStyle branch = {};
  Activation activation = Activation::Silu;
  bool gated = true;
  bool fused = false;  // ffn_up has the gate's rows first, then the rows of up
  // XIelu
  float alpha_p = 0;
  float alpha_n = 0;
  float beta = 0;
  float epsilon = 0;
};

struct ExpertStyle {
  std::uint32_t experts = 0;
  std::uint32_t used = 0;
  std::uint32_t width = 0;
  ops::Gating gating = ops::Gating::Softmax;
  bool normalize = true;
  float scale = 1;
  enum class Bias : std::uint8_t { None, IfThere, Needed } choice_bias = Bias::None;
  std::uint32_t groups = 1;
  std::uint32_t groups_used = 1;
  bool weights_before = false;
  Activation activation = Activation::Silu;
  bool gated = true;
  bool router_bias = false;
  bool biases = false;       // of every expert
  std::uint32_t latent = 0;  // the experts' input and output are compressed to this width; 0: not
  std::uint32_t shared = 0;  // width of the shared expert; 0: none
  bool shared_gate = false;  // the shared expert's result times sigmoid(ffn_gate_inp_shexp . x)
};

struct OutputStyle {
  std::string_view norm = "output_norm";
  enum class Matrix : std::uint8_t { OwnOrTied, Own, Tied } matrix = Matrix::OwnOrTied;
  float state_factor = 1;  // of the normalised state
  float factor = 1;        // of the logits
  float softcap = 0;
};

}  // namespace loadline::model
