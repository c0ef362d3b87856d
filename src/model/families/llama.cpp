// Llama 1 to 3.x, Mistral, Mixtral, and what else is exported as "llama": grouped-query attention, rope on neighbouring
// pairs (the exporter permutes q and k for it), gated SiLU. Its close relatives differ in an option each.
#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
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

void internlm2(ProgramBuilder& b) {
  b.embedding();
  b.layers({.rope = b.rope(false), .scale = b.attention_scale()});
  b.output();
}

void exaone(ProgramBuilder& b) {
  b.embedding();
  b.layers({.rope = b.rope(true)});
  b.output();
}

// The smaller one knows positions by rope, the larger one by ALiBi; how many layers there are tells which it is.
void baichuan(ProgramBuilder& b) {
  AttentionStyle attention;
  switch (b.config().layers) {
    case 32: attention.rope = b.rope(false); break;
    case 40: attention.alibi = 8; break;
    default:
      throw bad_input(fmt::format("{} is {}, and only models of 32 and of 40 layers are known of this family",
                                  b.keys().key("block_count"), b.config().layers));
  }
  b.embedding();
  b.layers(attention);
  b.output({.matrix = OutputStyle::Matrix::Own});
}

// The activation's constants are a layer's own, kept as what softplus makes them of.
void apertus(ProgramBuilder& b) {
  const std::uint32_t layers = b.config().layers;
  const std::vector<float> alpha_p = b.keys().bare_numbers("xielu.alpha_p", layers);
  const std::vector<float> alpha_n = b.keys().bare_numbers("xielu.alpha_n", layers);
  const std::vector<float> beta = b.keys().bare_numbers("xielu.beta", layers);
  const std::vector<float> epsilon = b.keys().bare_numbers("xielu.eps", layers);
  const auto softplus = [](float x) { return x > 20 ? x : std::log1p(std::exp(x)); };
  const AttentionStyle attention{.head_norm = HeadNorm::Each, .rope = b.rope(true)};
  b.dense();
  b.embedding();
  for (std::uint32_t i = 0; i < layers; ++i) {
    b.attention(i, attention);
    b.feed_forward(i, {.activation = Activation::XIelu,
                       .gated = false,
                       .alpha_p = softplus(alpha_p[i]),
                       .alpha_n = beta[i] + softplus(alpha_n[i]),
                       .beta = beta[i],
                       .epsilon = epsilon[i]});
  }
  b.output({.matrix = OutputStyle::Matrix::Own});
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
