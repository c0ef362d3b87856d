// Families whose feed-forwards are experts and that are like no dense family here: gpt-oss, GLM 4.5, OLMoE, MiniMax M2.
#include "model/families/families.h"

namespace loadline::model::families {

void gpt_oss(ProgramBuilder& b) {
  const ExpertStyle experts = b.experts({.gating = ops::Gating::SoftmaxOfChosen,
                                         .normalize = false,
                                         .activation = Activation::ClampedSwiglu,
                                         .router_bias = true,
                                         .biases = true});
  const std::vector<bool> windows = b.window_layers(2);
  AttentionStyle full{.needs_biases = true, .rope = b.rope(true), .sinks = true};
  AttentionStyle windowed = full;
  windowed.window = b.keys().count("attention.sliding_window", kMostContext);
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, windows[i] ? windowed : full);
    b.expert_feed_forward(i, {.norm = "post_attention_norm"}, experts);
  }
  b.output({.matrix = OutputStyle::Matrix::Own});
}

// Dense layers first, then experts beside shared ones.
static void layers_with_experts(ProgramBuilder& b, const AttentionStyle& attention, const ExpertStyle& experts) {
  const std::uint32_t dense = b.leading_dense_layers();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, attention);
    if (i < dense) {
      b.feed_forward(i);
    } else {
      b.expert_feed_forward(i, {}, experts);
    }
  }
}

void dots1(ProgramBuilder& b) {
  ExpertStyle experts =
      b.experts({.gating = ops::Gating::Sigmoid, .normalize = false, .choice_bias = ExpertStyle::Bias::IfThere});
  experts.shared = experts.width * b.keys().find_count("expert_shared_count", kMostExperts, 0).value_or(0);
  b.embedding();
  layers_with_experts(b, {.head_norm = HeadNorm::Each, .rope = b.rope(true)}, experts);
  b.output({.matrix = OutputStyle::Matrix::Own});
}

void bailingmoe2(ProgramBuilder& b) {
  b.skip_prediction_layers();
  ExpertStyle experts =
      b.experts({.gating = ops::Gating::Sigmoid, .normalize = false, .choice_bias = ExpertStyle::Bias::IfThere});
  experts.shared = b.keys().find_count("expert_shared_feed_forward_length", kMostWidth).value_or(experts.width) *
                   b.keys().find_count("expert_shared_count", kMostExperts, 0).value_or(0);
  b.embedding();
  layers_with_experts(b, {.head_norm = HeadNorm::Each, .rope = b.rope(true)}, experts);
  b.output();
}

void glm4moe(ProgramBuilder& b) {
  b.skip_prediction_layers();
  ExpertStyle experts = b.experts({.gating = ops::Gating::Sigmoid, .choice_bias = ExpertStyle::Bias::Needed});
  experts.shared = experts.width * b.keys().find_count("expert_shared_count", kMostExperts, 0).value_or(0);
  const std::uint32_t dense = b.leading_dense_layers();
  const AttentionStyle attention{.head_norm = HeadNorm::EachIfThere, .rope = b.rope(true)};
  const FeedForwardStyle feed_forward{.norm = "post_attention_norm"};
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, attention);
    if (i < dense) {
      b.feed_forward(i, feed_forward);
    } else {
      b.expert_feed_forward(i, feed_forward, experts);
    }
  }
  b.output();
}

void olmoe(ProgramBuilder& b) {
  const ExpertStyle experts = b.experts({.width = b.config().feed_forward, .normalize = false});
  const AttentionStyle attention{.head_norm = HeadNorm::Rows, .rope = b.rope(true)};
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, attention);
    b.expert_feed_forward(i, {}, experts);
  }
  b.output({.matrix = OutputStyle::Matrix::Own});
}

void minimax_m2(ProgramBuilder& b) {
  const ExpertStyle experts = b.experts({.width = b.config().feed_forward, .choice_bias = ExpertStyle::Bias::Needed});
  const AttentionStyle attention{.head_norm = HeadNorm::Rows, .rope = b.rope(true)};
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, attention);
    b.expert_feed_forward(i, {}, experts);
  }
  b.output({.matrix = OutputStyle::Matrix::Own});
}

}  // namespace loadline::model::families
