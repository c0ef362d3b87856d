// Llama 1 to 3.x, Mistral, Mixtral, and what else is exported as "llama": grouped-query attention, rope on neighbouring
// pairs (the exporter permutes q and k for it), gated SiLU. Its close relatives differ in an option each.
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

void layers_with_experts_or_without(ProgramBuilder& b, const AttentionStyle& attention) {
  if (!b.has_experts()) return b.layers(attention);
  const ExpertStyle experts = b.experts({.width = b.config().feed_forward});
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, attention);
    b.expert_feed_forward(i, {}, experts);
  }
}

}  // namespace

void llama(ProgramBuilder& b) {
  b.embedding();
  layers_with_experts_or_without(b, {.rope = b.rope(false), .scale = b.attention_scale()});
  b.output();
}

// Ministral 3, Devstral 2: queries grow with their position.
void mistral3(ProgramBuilder& b) {
  RopeConfig& rope = b.config().rope;
  rope.beta_fast = b.keys().find_positive("rope.scaling.yarn_beta_fast", 1e6).value_or(rope.beta_fast);
  rope.beta_slow = b.keys().find_positive("rope.scaling.yarn_beta_slow", 1e6).value_or(rope.beta_slow);
  AttentionStyle attention{.rope = b.rope(false), .scale = b.attention_scale()};
  attention.temperature.scale = b.keys().find_number("attention.temperature_scale").value_or(0.0F);
  attention.temperature.length = rope.original_context;
  b.embedding();
  layers_with_experts_or_without(b, attention);
  b.output();
}

void arcee(ProgramBuilder& b) {
  b.embedding();
  b.layers({.rope = b.rope(false)}, {.activation = Activation::ReluSquared, .gated = false});
  b.output();
}

void seed_oss(ProgramBuilder& b) {
  b.embedding();
  b.layers({.rope = b.rope(true)}, {.norm = "post_attention_norm"});
  b.output();
}

// Every fourth layer does not know positions.
void smollm3(ProgramBuilder& b) {
  const float scale = b.attention_scale();
  const RopeIndex rope = b.rope(false);
  b.dense();
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    AttentionStyle attention{.scale = scale};
    if ((i + 1) % 4 != 0) attention.rope = rope;
    b.attention(i, attention);
    b.feed_forward(i);
  }
  b.output();
}

void ernie4_5(ProgramBuilder& b) {
  b.embedding();
  b.layers({.rope = b.rope(false)});
  b.output();
}

void ernie4_5_moe(ProgramBuilder& b) {
  ExpertStyle experts = b.experts({.choice_bias = ExpertStyle::Bias::IfThere});
  experts.shared = b.keys().find_count("expert_shared_feed_forward_length", kMostWidth, 0).value_or(0);
  const std::uint32_t dense = b.leading_dense_layers();
  const std::uint32_t step = b.keys().find_count("interleave_moe_layer_step", kMostLayers).value_or(1);
  const RopeIndex rope = b.rope(false);
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, {.rope = rope});
    if (i >= dense && (i + 1) % step == 0) {
      b.expert_feed_forward(i, {}, experts);
    } else {
      b.feed_forward(i);
    }
  }
  b.output();
}

}  // namespace loadline::model::families
