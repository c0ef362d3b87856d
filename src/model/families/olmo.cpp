// OLMo 2 and 3, EXAONE 4: no norm before a block but one after it; and EXAONE's experts, which have the norm before.
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

constexpr FeedForwardStyle kPostNormed{.norm = {}, .branch = {.post_norm = "post_ffw_norm"}};

AttentionStyle attention_style(HeadNorm head_norm, RopeIndex rope) {
  return {.norm = {}, .branch = {.post_norm = "post_attention_norm"}, .head_norm = head_norm, .rope = rope};
}

}  // namespace

void olmo2(ProgramBuilder& b) {
  b.dense();
  const std::uint32_t window = b.keys().find_count("attention.sliding_window", kMostContext, 0).value_or(0);
  std::vector<bool> windows = b.window_layers(4);
  if (window == 0) windows.assign(windows.size(), false);
  const AttentionStyle full = attention_style(HeadNorm::Rows, b.rope(true));
  AttentionStyle windowed = full;
  windowed.window = window;
  const RopeConfig& scaled = b.config().rope;
  RopeConfig plain{.dimensions = scaled.dimensions, .base = scaled.base, .neox = true};
  plain.original_context = scaled.original_context;
  if (window != 0) windowed.rope = b.rope_table(plain);
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, windows[i] ? windowed : full);
    b.feed_forward(i, kPostNormed);
  }
  b.output({.matrix = OutputStyle::Matrix::Own});
}

void exaone4(ProgramBuilder& b) {
  b.skip_prediction_layers();
  // The largest one has windows, and knows positions only there.
  if (b.config().layers == 64) {
    b.dense();
    const std::uint32_t window = b.keys().find_count("attention.sliding_window", kMostContext).value_or(4096);
    const std::vector<bool> windows = b.window_layers(4);
    AttentionStyle windowed = attention_style(HeadNorm::Each, b.rope(true));
    AttentionStyle full = windowed;
    windowed.window = window;
    full.rope.reset();
    b.embedding();
    for (std::uint32_t i = 0; i < b.config().layers; ++i) {
      b.attention(i, windows[i] ? windowed : full);
      b.feed_forward(i, kPostNormed);
    }
    return b.output();
  }
  for (const char* suffix : {"attention.sliding_window", "attention.sliding_window_pattern"}) {
    b.keys().ignore(suffix, "models of this family with other than 64 layers are run without windows");
  }
  b.embedding();
  b.layers(attention_style(HeadNorm::Each, b.rope(true)), kPostNormed);
  b.output();
}

void exaone_moe(ProgramBuilder& b) {
  b.skip_prediction_layers();
  ExpertStyle experts =
      b.experts({.gating = ops::Gating::Sigmoid, .normalize = false, .choice_bias = ExpertStyle::Bias::IfThere});
  experts.shared = b.keys().find_count("expert_shared_feed_forward_length", kMostWidth).value_or(experts.width);
  const std::uint32_t dense = b.leading_dense_layers();
  const std::vector<bool> windows = b.window_layers(4);
  AttentionStyle windowed{.head_norm = HeadNorm::Each, .rope = b.rope(true)};
  AttentionStyle full = windowed;
  windowed.window = b.keys().count("attention.sliding_window", kMostContext);
  full.rope.reset();
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, windows[i] ? windowed : full);
    if (i < dense) {
      b.feed_forward(i);
    } else {
      b.expert_feed_forward(i, {}, experts);
    }
  }
  b.output();
}

}  // namespace loadline::model::families
