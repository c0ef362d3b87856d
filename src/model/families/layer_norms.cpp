// Families with layer norms, most of them older: StarCoder 2, StableLM, Nemotron, Falcon, GPT-2, GPT-NeoX, MPT, BLOOM.
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

constexpr FeedForwardStyle kGelu{.activation = Activation::Gelu, .gated = false};

}  // namespace

void starcoder2(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  b.embedding();
  b.layers({.rope = b.rope(true)}, kGelu);
  b.output();
}

// Whether attention and feed-forward lie side by side is told by the tensors.
void stablelm(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  b.keys().accept("use_parallel_residual");
  const Parallel parallel = b.has("blk.0.ffn_norm.weight") ? Parallel::No : Parallel::Same;
  b.embedding();
  b.layers({.parallel = parallel, .head_norm = HeadNorm::OwnIfThere, .rope = b.rope(true)});
  b.output({.matrix = OutputStyle::Matrix::Own});
}

void nemotron(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  b.embedding();
  b.layers({.rope = b.rope(true)}, {.activation = Activation::ReluSquared, .gated = false});
  b.output({.matrix = OutputStyle::Matrix::Own});
}

// The larger ones have a norm for each branch.
void falcon(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  AttentionStyle attention{.parallel = Parallel::Same, .rope = b.rope(true)};
  if (b.has("blk.0.attn_norm_2.weight")) {
    attention.norm = "attn_norm_2";
    attention.parallel = Parallel::OwnNorm;
    attention.parallel_norm = "attn_norm";
  }
  b.embedding();
  b.layers(attention, kGelu);
  b.output();
}

void gpt2(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  b.embedding();
  const ModelConfig& c = b.config();
  b.append(ops::Embed{.table = b.require("position_embd.weight", {c.embedding, c.trained_context}),
                      .by_position = true,
                      .add = true},
           {}, {kHidden});
  b.layers({}, kGelu);
  b.output();
}

void gptneox(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  AttentionStyle attention{.rope = b.rope(true)};
  const auto parallel = b.keys().find_flag("use_parallel_residual");
  b.needed(parallel.has_value(), "use_parallel_residual");
  if (*parallel) {
    attention.parallel = Parallel::OwnNorm;
    attention.parallel_norm = "ffn_norm";
  }
  b.embedding();
  b.layers(attention, kGelu);
  b.output({.matrix = OutputStyle::Matrix::Own});
}

void mpt(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  const float clamp = b.keys().find_number("attention.clamp_kqv").value_or(0.0F);
  const float alibi = b.keys().find_number("attention.max_alibi_bias").value_or(0.0F);
  b.embedding();
  b.layers({.clamp = clamp, .alibi = alibi}, kGelu);
  b.output();
}

void bloom(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  b.embedding();
  b.norm(kHidden, kHidden, "token_embd_norm");
  b.layers({.alibi = 8}, kGelu);
  b.output();
}

}  // namespace loadline::model::families
