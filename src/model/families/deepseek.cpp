// DeepSeek V2, V3 and R1, Kimi K2, GLM 4.7 Flash, Mistral Large 3 (all exported as "deepseek2"), and MiniCPM 3: latent
// attention, which keeps one compressed row for each position.
#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

// Of either way that files give the sizes.
LatentStyle latent_style(ProgramBuilder& b) {
  Keys& keys = b.keys();
  const ModelConfig& c = b.config();
  LatentStyle style;
  style.rank = keys.count("attention.kv_lora_rank", kMostRank);
  style.query_rank = keys.find_count("attention.q_lora_rank", kMostRank, 0).value_or(0);
  style.rotated = c.rope.dimensions;
  style.head_dim = keys.find_count("attention.key_length_mla", kMostHeadSize).value_or(c.head_dim_k);
  style.value_dim = keys.find_count("attention.value_length_mla", kMostHeadSize).value_or(c.head_dim_v);
  if (style.rotated >= style.head_dim) {
    throw bad_input(fmt::format("{} is {}, which must be less than the head size {}", keys.key("rope.dimension_count"),
                                style.rotated, style.head_dim));
  }
  style.scale = 1.0F / std::sqrt(static_cast<float>(style.head_dim));
  return style;
}

// With yarn the scores grow, and cosines and sines do not.
void scale_for_yarn(const ModelConfig& c, RopeConfig& rope, LatentStyle& style) {
  if (c.rope.scaling != RopeConfig::Scaling::Yarn) return;
  const float multiplier = c.rope.log_multiplier != 0 ? c.rope.log_multiplier : 0.1F;
  const float magnitude = 1.0F + multiplier * std::log(c.rope.factor);
  style.scale *= magnitude * magnitude;
  if (c.rope.log_multiplier != 0) rope.magnitude = 1.0F;
}

}  // namespace

void deepseek2(ProgramBuilder& b) {
  b.skip_prediction_layers();
  Keys& keys = b.keys();
  const ModelConfig& c = b.config();
  LatentStyle attention = latent_style(b);
  RopeConfig rope = c.rope;
  scale_for_yarn(c, rope, attention);
  attention.rope = b.rope_table(rope);
  attention.temperature.scale = keys.find_number("attention.temperature_scale").value_or(0.0F);
  attention.temperature.length =
      keys.find_count("attention.temperature_length", kMostContext).value_or(c.rope.original_context);
  // Files without a gating function are of before it was written, but for GLM 4.7 Flash.
  constexpr std::uint32_t kGlmVocabulary = 154880;
  const bool glm = (c.layers == 47 || c.layers == 48) && c.vocabulary == kGlmVocabulary;
  ExpertStyle experts = b.experts({.gating = glm ? ops::Gating::Sigmoid : ops::Gating::Softmax,
                                   .normalize = false,
                                   .choice_bias = ExpertStyle::Bias::IfThere});
  experts.shared = experts.width * keys.find_count("expert_shared_count", kMostExperts, 0).value_or(0);
  const std::uint32_t dense = b.leading_dense_layers();
  b.embedding();
  for (std::uint32_t i = 0; i < c.layers; ++i) {
    b.latent_attention(i, attention);
    if (i < dense) {
      b.feed_forward(i);
    } else {
      b.expert_feed_forward(i, {}, experts);
    }
  }
  b.output();
}

void minicpm3(ProgramBuilder& b) {
  b.dense();
  const ModelConfig& c = b.config();
  b.config().rope.neox = true;
  LatentStyle attention = latent_style(b);
  attention.rope = b.rope_with_long_factors(c.rope);
  // What the family was trained with; its files do not say.
  constexpr float kEmbedding = 12;
  constexpr float kBaseWidth = 256;
  const BranchStyle branch{.factor = 1.4F / std::sqrt(static_cast<float>(c.layers))};
  attention.branch = branch;
  b.embedding(kEmbedding);
  for (std::uint32_t i = 0; i < c.layers; ++i) {
    b.latent_attention(i, attention);
    b.feed_forward(i, {.branch = branch});
  }
  b.output({.state_factor = kBaseWidth / static_cast<float>(c.embedding)});
}

}  // namespace loadline::model::families
