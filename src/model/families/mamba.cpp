// Mamba 2; Nemotron-H, whose layers are either of attention, Mamba 2 and feed-forward; and Falcon-H1, whose layers have
// attention and Mamba 2 side by side.
#include "model/families/mamba.h"

#include <fmt/format.h>

#include "base/error.h"
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

struct ScanSizes {
  std::uint32_t inner, state, heads, groups, taps;
};

ScanSizes read_scan_sizes(ProgramBuilder& b) {
  Keys& keys = b.keys();
  const ScanSizes sizes{keys.count("ssm.inner_size", kMostWidth), keys.count("ssm.state_size", kMostHeadSize),
                        keys.count("ssm.time_step_rank", kMostHeads), keys.count("ssm.group_count", kMostHeads),
                        keys.count("ssm.conv_kernel", kMostTaps)};
  if (sizes.inner % sizes.heads != 0 || sizes.heads % sizes.groups != 0 || sizes.inner % sizes.groups != 0) {
    throw bad_input(fmt::format("{} ({}), {} ({}) and {} ({}) do not divide", keys.key("ssm.inner_size"), sizes.inner,
                                keys.key("ssm.time_step_rank"), sizes.heads, keys.key("ssm.group_count"),
                                sizes.groups));
  }
  return sizes;
}

// Adds what the scan makes of the normalised state to the hidden one.
void mix(ProgramBuilder& b, ValueId normed, const BranchStyle& branch, bool needs_norm = true) {
  const auto [inner, state, heads, groups, taps] = read_scan_sizes(b);
  const std::uint32_t width = b.config().embedding;
  const std::uint32_t channels = inner + 2 * groups * state;
  const std::uint64_t all = std::uint64_t{inner} + channels + heads;
  const ValueId gate = b.value("gate of the scan", inner);
  const ValueId mixed = b.value("before the convolution", channels);
  const ValueId convolved = b.value("convolved", channels);
  const ValueId step = b.value("time step", heads);
  const ValueId result = b.value("scan", inner);
  const std::string in = b.name("ssm_in");
  b.append(ops::Linear{{b.rows_of(in, width, 0, inner, all), b.rows_of(in, width, inner, channels, all),
                        b.rows_of(in, width, inner + channels, heads, all)}},
           {normed}, {gate, mixed, step});
  b.append(ops::Convolution{.cache = b.cache({.kind = CacheKind::State, .state = (taps - 1) * channels}),
                            .taps = taps,
                            .weight = b.require_floats(b.name("ssm_conv1d.weight"), {taps, channels}),
                            .bias = b.find_floats(b.name("ssm_conv1d.bias"), {channels}),
                            .activation = Activation::Silu},
           {mixed}, {convolved});
  b.append(ops::StateSpace{.cache = b.cache({.kind = CacheKind::State, .state = inner * state}),
                           .inner = inner,
                           .state = state,
                           .heads = heads,
                           .groups = groups,
                           .dt_bias = b.require_floats(b.name("ssm_dt.bias"), {heads}),
                           .a = b.require_floats(b.name("ssm_a"), {1, heads}),
                           .d = b.require_floats(b.name("ssm_d"), {1, heads})},
           {convolved, step}, {result});
  b.append(ops::Multiply{Activation::Silu}, {result, gate}, {result});
  const std::string norm = b.name("ssm_norm");
  if (needs_norm || b.has(norm + ".weight")) b.norm_parts(result, result, norm, groups, true);
  b.add_branch(result, b.name("ssm_out"), branch);
}

}  // namespace

void mamba2_block(ProgramBuilder& b, std::uint32_t layer, const BranchStyle& branch) {
  b.begin(GroupKind::Attention, layer);
  const ValueId normed = b.value("normed", b.config().embedding);
  b.norm(kHidden, normed, b.name("attn_norm"));
  mix(b, normed, branch);
}

void mamba2(ProgramBuilder& b) {
  b.dense();
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) mamba2_block(b, i);
  b.output();
}

// The multipliers that the models were trained with are in the files' weights.
void falcon_h1(ProgramBuilder& b) {
  b.dense();
  const AttentionStyle attention{.rope = b.rope(true)};
  b.embedding();
  const ModelConfig& c = b.config();
  for (std::uint32_t i = 0; i < c.layers; ++i) {
    b.attention(i, attention);
    const ValueId normed = b.value("normed", c.embedding);  // which the attention read
    mix(b, normed, {}, false);
    b.begin(GroupKind::FeedForward, i);
    // Its name ends there.
    const TensorIndex weight = b.require_floats(b.name("ffn_norm"), {c.embedding});
    const float epsilon = b.needed(c.rms_epsilon, "attention.layer_norm_rms_epsilon");
    b.append(ops::Norm{.epsilon = epsilon, .part = c.embedding, .weight = weight}, {kHidden}, {normed});
    const std::uint32_t rows = b.needed(b.layer(i).feed_forward, "feed_forward_length");
    b.add_branch(b.gated_values(normed, {}, b.name("ffn_gate"), b.name("ffn_up"), rows), b.name("ffn_down"), {});
  }
  b.output();
}

void nemotron_h(ProgramBuilder& b) {
  const bool has_experts = b.has_experts();
  ExpertStyle experts;
  if (has_experts) {
    experts = b.experts({.gating = ops::Gating::Sigmoid,
                         .normalize = false,
                         .choice_bias = ExpertStyle::Bias::Needed,
                         .activation = Activation::ReluSquared,
                         .gated = false});
    experts.shared = b.keys().find_count("expert_shared_feed_forward_length", kMostWidth, 0).value_or(0);
    experts.latent = b.keys().find_count("moe_latent_size", kMostWidth, 0).value_or(0);
  } else {
    b.dense();
  }
  const FeedForwardStyle feed_forward{.norm = "attn_norm", .activation = Activation::ReluSquared, .gated = false};
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    if (b.layer(i).heads > 0) {
      b.attention(i, {});
    } else if (b.layer(i).feed_forward == 0) {
      mamba2_block(b, i);
    } else if (has_experts) {
      b.expert_feed_forward(i, feed_forward, experts);
    } else {
      b.feed_forward(i, feed_forward);
    }
  }
  b.output({.matrix = OutputStyle::Matrix::Own});
}

}  // namespace loadline::model::families
