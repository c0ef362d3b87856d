// LFM 2, dense and with experts: most layers are a short convolution between two gates.
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

void convolution_block(ProgramBuilder& b, std::uint32_t layer, std::uint32_t taps) {
  b.begin(GroupKind::Attention, layer);
  const std::uint32_t width = b.config().embedding;
  const ValueId normed = b.value("normed", width);
  const ValueId before = b.value("gate before the convolution", width);
  const ValueId after = b.value("gate after the convolution", width);
  const ValueId x = b.value("before the convolution", width);
  const ValueId convolved = b.value("convolved", width);
  b.norm(kHidden, normed, b.name("attn_norm"));
  const std::string in = b.name("shortconv.in_proj");
  const std::uint64_t all = std::uint64_t{3} * width;
  b.append(ops::Linear{{b.rows_of(in, width, 0, width, all), b.rows_of(in, width, width, width, all),
                        b.rows_of(in, width, std::uint64_t{2} * width, width, all)}},
           {normed}, {before, after, x});
  b.append(ops::Multiply{}, {x, before}, {x});
  b.append(ops::Convolution{.cache = b.cache({.kind = CacheKind::State, .state = (taps - 1) * width}),
                            .taps = taps,
                            .weight = b.require_floats(b.name("shortconv.conv.weight"), {taps, width})},
           {x}, {convolved});
  b.append(ops::Multiply{}, {convolved, after}, {convolved});
  b.add_branch(convolved, b.name("shortconv.out_proj"), {});
}

}  // namespace

void lfm2(ProgramBuilder& b) {
  const std::uint32_t taps = b.keys().count("shortconv.l_cache", kMostTaps, 2);
  AttentionStyle attention{.head_norm = HeadNorm::Each, .rope = b.rope(true)};
  attention.window = b.keys().find_count("attention.sliding_window", kMostContext, 0).value_or(0);
  const bool has_experts = b.has_experts();
  ExpertStyle experts;
  if (has_experts) experts = b.experts({.choice_bias = ExpertStyle::Bias::Needed});
  if (!has_experts) b.dense();
  const std::uint32_t dense = b.leading_dense_layers();
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    if (b.layer(i).heads == 0) {
      convolution_block(b, i, taps);
    } else {
      b.attention(i, attention);
    }
    if (has_experts && i >= dense) {
      b.expert_feed_forward(i, {}, experts);
    } else {
      b.feed_forward(i);
    }
  }
  b.output({.norm = "token_embd_norm", .matrix = OutputStyle::Matrix::Tied});
}

}  // namespace loadline::model::families
