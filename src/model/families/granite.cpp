// Granite and MiniCPM: Llama with constant factors on the embedding, the scores, both branches and the logits.
#include <cmath>

#include "model/families/families.h"
#include "model/families/mamba.h"

namespace loadline::model::families {
namespace {

struct Factors {
  float embedding = 1;
  float residual = 1;
  float attention = 0;
  float logits = 1;  // logits are divided by it
};

// 0 stands for none.
Factors read_factors(ProgramBuilder& b, const Factors& defaults) {
  const auto factor = [&](std::string_view suffix, float otherwise) {
    const float found = b.keys().find_number(suffix).value_or(0.0F);
    return found != 0 ? found : otherwise;
  };
  return {factor("embedding_scale", defaults.embedding), factor("residual_scale", defaults.residual),
          b.attention_scale(), factor("logit_scale", defaults.logits)};
}

// Some are trained without rope.
std::optional<RopeIndex> rope_if_trained(ProgramBuilder& b) {
  if (!b.keys().find_flag("rope.scaling.finetuned").value_or(true)) return std::nullopt;
  return b.rope(false);
}

void build_granite(ProgramBuilder& b, const Factors& factors, std::optional<RopeIndex> rope) {
  const BranchStyle branch{.factor = factors.residual};
  const AttentionStyle attention{.branch = branch, .rope = rope, .scale = factors.attention};
  const bool has_experts = b.has_experts();
  ExpertStyle experts;
  if (has_experts) {
    experts = b.experts({.width = b.config().feed_forward});
    experts.shared = b.keys().find_count("expert_shared_feed_forward_length", kMostWidth, 0).value_or(0);
  } else {
    b.dense();
    b.keys().accept("expert_shared_feed_forward_length");
  }
  b.embedding(factors.embedding);
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    if (b.layer(i).heads == 0) {
      mamba2_block(b, i, branch);
    } else {
      b.attention(i, attention);
    }
    if (has_experts) {
      b.expert_feed_forward(i, {.branch = branch}, experts);
    } else {
      b.feed_forward(i, {.branch = branch});
    }
  }
  b.output({.factor = 1.0F / factors.logits});
}

}  // namespace

void granite(ProgramBuilder& b) {
  const Factors factors = read_factors(b, {});
  b.needed(b.keys().find_number("logit_scale").value_or(0.0F), "logit_scale");
  build_granite(b, factors, rope_if_trained(b));
}

// Layers without KV heads are Mamba 2.
void granite_hybrid(ProgramBuilder& b) { build_granite(b, read_factors(b, {}), rope_if_trained(b)); }

void minicpm(ProgramBuilder& b) {
  const auto layers = static_cast<float>(b.config().layers);
  const Factors factors = read_factors(b, {.embedding = 12, .residual = 1.4F / std::sqrt(layers)});
  build_granite(b, factors, b.rope(false));
}

}  // namespace loadline::model::families
