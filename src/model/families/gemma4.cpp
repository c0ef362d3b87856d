// Gemma 4: window layers with heads of another size, layers that read an earlier layer's cache, inputs of their own for
// each layer, and experts beside the dense feed-forward.
#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

class Gemma4 {
 public:
  explicit Gemma4(ProgramBuilder& builder) : b_(builder) { read(); }

  void build() {
    embedding();
    for (std::uint32_t i = 0; i < b_.config().layers; ++i) {
      attention(i);
      feed_forward(i);
    }
    b_.output({.softcap = b_.keys().find_number("final_logit_softcapping").value_or(30.0F)});
  }

 private:
  void read();
  void embedding();
  void attention(std::uint32_t layer);
  ValueId head_norm(ValueId value, std::string_view tensor, std::uint32_t heads);
  void feed_forward(std::uint32_t layer);
  void own_input(std::uint32_t layer);

  ProgramBuilder& b_;
  std::vector<bool> windows_;
  std::uint32_t window_ = 0;
  std::uint32_t window_head_ = 0;
  std::uint32_t own_layers_ = 0;  // have keys and values
  std::uint32_t own_inputs_ = 0;  // width of each layer's; 0: none
  RopeIndex full_rope_ = 0;
  RopeIndex window_rope_ = 0;
  std::vector<CacheIndex> caches_;  // per layer with keys and values
};

void Gemma4::read() {
  Keys& keys = b_.keys();
  const ModelConfig& c = b_.config();
  window_ = keys.count("attention.sliding_window", kMostContext);
  const auto flags = b_.layer_flags("attention.sliding_window_pattern");
  if (!flags) throw bad_input(fmt::format("the model has no {}", keys.key("attention.sliding_window_pattern")));
  windows_ = *flags;
  window_head_ = keys.count("attention.key_length_swa", kMostHeadSize);
  if (keys.count("attention.value_length_swa", kMostHeadSize) != window_head_ || c.head_dim_k != c.head_dim_v) {
    throw bad_input("the model's keys and values have heads of different sizes, which is not supported");
  }
  own_inputs_ = keys.count("embedding_length_per_layer_input", kMostRank, 0);
  const std::uint32_t shared = keys.find_count("attention.shared_kv_layers", kMostLayers, 0).value_or(0);
  if (shared >= c.layers) {
    throw bad_input(
        fmt::format("{} is {}, but the model has {} layers", keys.key("attention.shared_kv_layers"), shared, c.layers));
  }
  own_layers_ = c.layers - shared;
  RopeConfig& rope = b_.config().rope;
  rope.neox = true;
  full_rope_ = b_.rope(true);
  RopeConfig windowed = rope;
  windowed.base = keys.find_positive("rope.freq_base_swa", 1e12).value_or(10000.0F);
  windowed.dimensions = keys.find_count("rope.dimension_count_swa", kMostHeadSize).value_or(rope.dimensions);
  if (windowed.dimensions > window_head_ || windowed.dimensions % 2 != 0) {
    throw bad_input(fmt::format("{} is {}, which must be even and at most the head size {}",
                                keys.key("rope.dimension_count_swa"), windowed.dimensions, window_head_));
  }
  window_rope_ = b_.rope_table(windowed);
}

// The inputs of the layers: of the token, and of its embedding, in equal parts.
void Gemma4::embedding() {
  const ModelConfig& c = b_.config();
  const auto width = static_cast<float>(c.embedding);
  b_.embedding(std::sqrt(width));
  if (own_inputs_ == 0) return;
  const std::uint32_t all = own_inputs_ * c.layers;
  const ValueId of_token = b_.value("inputs of the layers, by token", all);
  b_.append(ops::Embed{.table = b_.require("per_layer_token_embd.weight", {all, c.vocabulary})}, {}, {of_token});
  b_.append(ops::Scale{std::sqrt(static_cast<float>(own_inputs_))}, {of_token}, {of_token});
  const ValueId of_state = b_.linear(kHidden, "per_layer_model_proj", all, "inputs of the layers");
  b_.append(ops::Scale{1.0F / std::sqrt(width)}, {of_state}, {of_state});
  b_.norm_parts(of_state, of_state, "per_layer_proj_norm", c.layers);
  b_.append(ops::Add{}, {of_state, of_token}, {of_state});
  b_.append(ops::Scale{1.0F / std::sqrt(2.0F)}, {of_state}, {of_state});
  std::vector<ValueId> own;
  for (std::uint32_t i = 0; i < c.layers; ++i) {
    own.push_back(b_.carried_value(fmt::format("input of layer {}", i), own_inputs_));
  }
  b_.append(ops::Split{1, std::vector<std::uint32_t>(c.layers, own_inputs_)}, {of_state}, own);
}

// An empty name: without weights.
ValueId Gemma4::head_norm(ValueId value, std::string_view tensor, std::uint32_t heads) {
  if (!tensor.empty()) {
    b_.norm_parts(value, value, b_.name(tensor), heads);
  } else {
    const float epsilon = b_.needed(b_.config().rms_epsilon, "attention.layer_norm_rms_epsilon");
    b_.append(ops::Norm{.epsilon = epsilon, .part = b_.width(value) / heads, .parts = heads}, {value}, {value});
  }
  return value;
}

void Gemma4::attention(std::uint32_t layer) {
  b_.begin(GroupKind::Attention, layer);
  const ModelConfig& c = b_.config();
  const bool windowed = windows_[layer];
  const std::uint32_t head = windowed ? window_head_ : c.head_dim_k;
  const std::uint32_t heads = b_.needed(b_.layer(layer).heads, "attention.head_count");
  const std::uint32_t kv_heads = b_.layer(layer).kv_heads;
  const std::uint32_t kv_width = kv_heads * head;
  const RopeIndex rope = windowed ? window_rope_ : full_rope_;
  const bool own = layer < own_layers_;
  const ValueId normed = b_.value("normed", c.embedding);
  const ValueId q = b_.value("q", heads * head);
  const ValueId k = b_.value("k", kv_width);
  const ValueId v = b_.value("v", kv_width);
  const ValueId mixed = b_.value("attention", heads * head);
  b_.norm(kHidden, normed, b_.name("attn_norm"));
  ops::Linear project{{b_.matrix(b_.name("attn_q"), c.embedding, heads * head)}};
  std::vector<ValueId> projected = {q};
  const bool has_values = b_.has(b_.name("attn_v.weight"));
  if (own) {
    project.parts.push_back(b_.matrix(b_.name("attn_k"), c.embedding, kv_width));
    project.parts.push_back(b_.matrix(b_.name(has_values ? "attn_v" : "attn_k"), c.embedding, kv_width));
    projected = {q, k, v};
  }
  b_.append(project, {normed}, projected);
  head_norm(q, "attn_q_norm", heads);
  if (own) {
    head_norm(k, "attn_k_norm", kv_heads);
    head_norm(v, "", kv_heads);
    b_.append(ops::Rope{rope, head}, {q, k}, {q, k});
    caches_.push_back(b_.cache({.kind = windowed ? CacheKind::Window : CacheKind::Full,
                                .kv_heads = kv_heads,
                                .head_dim_k = head,
                                .head_dim_v = head,
                                .window = windowed ? window_ : 0}));
  } else {
    b_.append(ops::Rope{rope, head}, {q}, {q});
  }
  ops::Attention op;
  op.heads = heads;
  op.head_dim_k = head;
  op.head_dim_v = head;
  op.scale = 1;
  op.window = windowed ? window_ : 0;
  op.stores = own;
  // The last layer of either kind that has keys and values.
  std::uint32_t source = layer;
  if (!own) source = own_layers_ - (windowed ? 2 : 1);
  if (!own && (own_layers_ < 2 || windows_[source] != windowed)) {
    throw bad_input(fmt::format("layer {} shares the cache of layer {}, which is of another kind", layer, source));
  }
  op.cache = caches_[source];
  op.kv_heads = b_.program().caches[op.cache].kv_heads;
  b_.append(op, own ? std::vector{q, k, v} : std::vector{q}, {mixed});
  b_.add_branch(mixed, b_.name("attn_output"), {.post_norm = "post_attention_norm"});
}

void Gemma4::feed_forward(std::uint32_t layer) {
  const ModelConfig& c = b_.config();
  const BranchStyle branch{.post_norm = "post_ffw_norm"};
  if (b_.has(fmt::format("blk.{}.ffn_gate_inp.weight", layer))) {
    ExpertStyle style = b_.experts();
    style.activation = Activation::Gelu;
    b_.begin(GroupKind::FeedForward, layer);
    const ValueId normed = b_.value("normed", c.embedding);
    b_.norm(kHidden, normed, b_.name("ffn_norm"));
    const FeedForwardStyle dense{.activation = Activation::Gelu};
    const ValueId inner =
        b_.gated_values(normed, dense, b_.name("ffn_gate"), b_.name("ffn_up"), b_.layer(layer).feed_forward);
    const ValueId sum = b_.linear(inner, b_.name("ffn_down"), c.embedding, "branch");
    b_.norm(sum, sum, b_.name("post_ffw_norm_1"));
    const ValueId for_router = b_.value("router's input", c.embedding);
    const float epsilon = b_.needed(c.rms_epsilon, "attention.layer_norm_rms_epsilon");
    b_.append(ops::Norm{.epsilon = epsilon,
                        .part = c.embedding,
                        .weight = b_.require_floats(b_.name("ffn_gate_inp.scale"), {c.embedding})},
              {kHidden}, {for_router});
    b_.append(ops::Scale{1.0F / std::sqrt(static_cast<float>(c.embedding))}, {for_router}, {for_router});
    const ValueId route = b_.route(for_router, style);
    b_.norm(kHidden, normed, b_.name("pre_ffw_norm_2"));
    const ValueId experts = b_.expert_values(normed, route, style);
    b_.norm(experts, experts, b_.name("post_ffw_norm_2"));
    b_.append(ops::Add{}, {sum, experts}, {sum});
    b_.add_result(sum, branch);
  } else {
    b_.feed_forward(layer, {.branch = branch, .activation = Activation::Gelu});
  }
  if (own_inputs_ > 0) own_input(layer);
  const TensorIndex factor = b_.find_floats(b_.name("layer_output_scale.weight"), {1});
  if (factor != kNoTensor) b_.append(ops::Scale{.tensor = factor}, {kHidden}, {kHidden});
}

void Gemma4::own_input(std::uint32_t layer) {
  const ValueId own = b_.carried_value(fmt::format("input of layer {}", layer), own_inputs_);
  const ValueId gate = b_.linear(kHidden, b_.name("inp_gate"), own_inputs_, "gate of the layer's input");
  b_.append(ops::Multiply{Activation::Gelu}, {own, gate}, {gate});
  b_.add_branch(gate, b_.name("proj"), {.post_norm = "post_norm"});
}

}  // namespace

void gemma4(ProgramBuilder& b) {
  if (!b.has_experts()) b.dense();
  Gemma4(b).build();
}

}  // namespace loadline::model::families
