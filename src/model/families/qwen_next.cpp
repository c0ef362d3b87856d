// Qwen 3 Next and 3.5: three layers of four are gated delta nets, the fourth attention with a gate on its result.
#include <fmt/format.h>

#include "base/error.h"
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

struct DeltaSizes {
  std::uint32_t taps, state, key_heads, value_heads;
};

DeltaSizes read_delta_sizes(ProgramBuilder& b) {
  Keys& keys = b.keys();
  const DeltaSizes sizes{keys.count("ssm.conv_kernel", kMostTaps, 2), keys.count("ssm.state_size", kMostHeadSize),
                         keys.count("ssm.group_count", kMostHeads), keys.count("ssm.time_step_rank", kMostHeads)};
  const std::uint32_t inner = keys.count("ssm.inner_size", kMostWidth);
  if (inner != sizes.state * sizes.value_heads || sizes.value_heads % sizes.key_heads != 0) {
    throw bad_input(fmt::format("{} ({}) is not {} ({}) times {} ({}), or the latter not a multiple of {} ({})",
                                keys.key("ssm.inner_size"), inner, keys.key("ssm.state_size"), sizes.state,
                                keys.key("ssm.time_step_rank"), sizes.value_heads, keys.key("ssm.group_count"),
                                sizes.key_heads));
  }
  return sizes;
}

// How the families differ.
struct DeltaStyle {
  bool tiled = false;   // value head j uses key head j mod key heads
  bool joined = false;  // beta and alpha are one matrix, laid out by key heads
};

void delta_net_block(ProgramBuilder& b, std::uint32_t layer, const DeltaSizes& sizes, const DeltaStyle& style) {
  b.begin(GroupKind::Attention, layer);
  const ModelConfig& c = b.config();
  const auto& [taps, state, key_heads, value_heads] = sizes;
  const std::uint32_t inner = state * value_heads;
  const std::uint32_t channels = 2 * state * key_heads + inner;
  const ValueId normed = b.value("normed", c.embedding);
  const ValueId mixed = b.value("before the convolution", channels);
  const ValueId convolved = b.value("convolved", channels);
  const ValueId gate = b.value("gate of the delta net", inner);
  const ValueId beta = b.value("beta", value_heads);
  const ValueId alpha = b.value("alpha", value_heads);
  const ValueId result = b.value("delta net", inner);
  b.norm(kHidden, normed, b.name("attn_norm"));
  b.append(ops::Linear{{b.matrix(b.name("attn_qkv"), c.embedding, channels),
                        b.matrix(b.name("attn_gate"), c.embedding, inner)}},
           {normed}, {mixed, gate});
  if (style.joined) {
    const ValueId both = b.linear(normed, b.name("ssm_ba"), 2 * value_heads, "beta and alpha");
    const std::uint32_t each = value_heads / key_heads;
    b.append(ops::Split{key_heads, {each, each}}, {both}, {beta, alpha});
  } else {
    b.append(ops::Linear{{b.matrix(b.name("ssm_beta"), c.embedding, value_heads),
                          b.matrix(b.name("ssm_alpha"), c.embedding, value_heads)}},
             {normed}, {beta, alpha});
  }
  b.append(ops::Convolution{.cache = b.cache({.kind = CacheKind::State, .state = (taps - 1) * channels}),
                            .taps = taps,
                            .weight = b.require_floats(b.name("ssm_conv1d.weight"), {taps, channels}),
                            .activation = Activation::Silu},
           {mixed}, {convolved});
  b.append(ops::DeltaNet{.cache = b.cache({.kind = CacheKind::State, .state = value_heads * state * state}),
                         .key_heads = key_heads,
                         .value_heads = value_heads,
                         .size = state,
                         .epsilon = b.needed(c.rms_epsilon, "attention.layer_norm_rms_epsilon"),
                         .tiled = style.tiled,
                         .dt_bias = b.require_floats(b.name("ssm_dt.bias"), {value_heads}),
                         .decay = b.require_floats(b.name("ssm_a"), {value_heads})},
           {convolved, beta, alpha}, {result});
  b.norm_parts(result, result, b.name("ssm_norm"), value_heads);
  b.append(ops::Multiply{Activation::Silu}, {result, gate}, {result});
  b.add_branch(result, b.name("ssm_out"), {});
}

void build_hybrid(ProgramBuilder& b, const DeltaStyle& style, bool has_experts) {
  b.skip_prediction_layers();
  const DeltaSizes sizes = read_delta_sizes(b);
  Keys& keys = b.keys();
  const std::uint32_t interval = keys.find_count("full_attention_interval", kMostLayers).value_or(4);
  const auto recurrent = b.layer_flags("attention.recurrent_layers");
  ExpertStyle experts;
  if (has_experts) {
    experts = b.experts({.shared_gate = true});
    experts.shared = keys.find_count("expert_shared_feed_forward_length", kMostWidth, 0).value_or(0);
  } else {
    b.dense();
  }
  const AttentionStyle attention{.gated = true, .head_norm = HeadNorm::Each, .rope = b.rope(true)};
  const FeedForwardStyle feed_forward{.norm = "post_attention_norm"};
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    if (recurrent ? (*recurrent)[i] : (i + 1) % interval != 0) {
      delta_net_block(b, i, sizes, style);
    } else {
      b.attention(i, attention);
    }
    if (has_experts) {
      b.expert_feed_forward(i, feed_forward, experts);
    } else {
      b.feed_forward(i, feed_forward);
    }
  }
  b.output();
}

}  // namespace

// For text the three sections of rope have the same position, which makes it the ordinary rope.
void qwen35(ProgramBuilder& b) {
  b.keys().accept("rope.dimension_sections");
  build_hybrid(b, {.tiled = true}, false);
}

void qwen35moe(ProgramBuilder& b) {
  b.keys().accept("rope.dimension_sections");
  build_hybrid(b, {.tiled = true}, true);
}

void qwen3next(ProgramBuilder& b) { build_hybrid(b, {.joined = true}, true); }

}  // namespace loadline::model::families
