// Gemma 1 to 3: gated GELU, the embedding times the square root of its width, and from 2 on norms after each block,
// windows, and caps on logits. (The "+1" of their norms is in the files' weights.)
#include <cmath>

#include "model/families/families.h"

namespace loadline::model::families {
namespace {

float embedding_factor(const ProgramBuilder& b) { return std::sqrt(static_cast<float>(b.program().config.embedding)); }

constexpr FeedForwardStyle kGemmaFeedForward{.branch = {.post_norm = "post_ffw_norm"}, .activation = Activation::Gelu};

// The largest model of a generation has its scores divided by sqrt(width / heads) instead of sqrt(head size).
float attention_scale(ProgramBuilder& b, std::uint32_t layers_of_the_largest) {
  const ModelConfig& c = b.config();
  if (c.layers != layers_of_the_largest) return 0;
  return 1.0F / std::sqrt(static_cast<float>(c.embedding) / static_cast<float>(c.heads));
}

}  // namespace

void gemma(ProgramBuilder& b) {
  b.embedding(embedding_factor(b));
  b.layers({.rope = b.rope(true)}, {.activation = Activation::Gelu});
  b.output({.matrix = OutputStyle::Matrix::Tied});
}

void gemma2(ProgramBuilder& b) {
  b.dense();
  const std::vector<bool> windows = b.window_layers(2);
  const std::uint32_t window = b.keys().find_count("attention.sliding_window", kMostContext).value_or(4096);
  AttentionStyle full{.branch = {.post_norm = "post_attention_norm"}, .rope = b.rope(true)};
  full.scale = attention_scale(b, 46);
  full.softcap = b.keys().find_number("attn_logit_softcapping").value_or(50.0F);
  AttentionStyle windowed = full;
  windowed.window = window;
  RopeConfig rope = b.config().rope;
  rope.base = b.keys().find_positive("rope.freq_base_swa", 1e12).value_or(rope.base);
  windowed.rope = b.rope_table(rope);
  b.embedding(embedding_factor(b));
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, windows[i] ? windowed : full);
    b.feed_forward(i, kGemmaFeedForward);
  }
  b.output({.matrix = OutputStyle::Matrix::Tied,
            .softcap = b.keys().find_number("final_logit_softcapping").value_or(30.0F)});
}

void gemma3(ProgramBuilder& b) {
  b.dense();
  const std::uint32_t window = b.keys().find_count("attention.sliding_window", kMostContext, 0).value_or(0);
  std::vector<bool> windows = b.window_layers(6);
  if (window == 0) windows.assign(windows.size(), false);
  AttentionStyle full{.branch = {.post_norm = "post_attention_norm"}, .head_norm = HeadNorm::Each};
  full.rope = b.rope(true);
  full.scale = attention_scale(b, 62);
  AttentionStyle windowed = full;
  windowed.window = window;
  RopeConfig rope{.dimensions = b.config().rope.dimensions, .neox = true};  // without any scaling
  rope.base = b.keys().find_positive("rope.freq_base_swa", 1e12).value_or(10000.0F);
  rope.original_context = b.config().rope.original_context;
  if (window != 0) windowed.rope = b.rope_table(rope);
  b.embedding(embedding_factor(b));
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, windows[i] ? windowed : full);
    b.feed_forward(i, kGemmaFeedForward);
  }
  b.output({.softcap = b.keys().find_number("final_logit_softcapping").value_or(0.0F)});
}

}  // namespace loadline::model::families
