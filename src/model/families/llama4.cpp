// Llama 4: three layers of four see a chunk of the context, the fourth all of it without rope; experts whose weight
// multiplies their input.
#include "model/families/families.h"

namespace loadline::model::families {

void llama4(ProgramBuilder& b) {
  constexpr std::uint32_t kChunk = 8192;
  constexpr std::uint32_t kMaverickExperts = 128;  // this one does not normalise heads
  ExpertStyle experts = b.experts({.gating = ops::Gating::SigmoidOfChosen, .normalize = false, .weights_before = true});
  b.needed(b.keys().find_count("expert_feed_forward_length", kMostWidth, 0).value_or(0), "expert_feed_forward_length");
  experts.shared = experts.width;
  const std::uint32_t step = b.keys().count("interleave_moe_layer_step", kMostLayers);
  const std::uint32_t window = b.keys().find_count("attention.sliding_window", kMostContext, 0).value_or(kChunk);
  const bool chunks = window != 0;
  AttentionStyle chunked{.norm_after_rope = true, .rope = b.rope(false)};
  if (experts.experts != kMaverickExperts) chunked.head_norm = HeadNorm::Unweighted;
  AttentionStyle full = chunked;
  if (chunks) {
    chunked.chunk = kChunk;
    full = {};
    full.temperature = {.scale = 0.1F, .length = kChunk, .ahead = 1};
  }
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, i % 4 < 3 ? chunked : full);
    if ((i + 1) % step == 0) {
      b.expert_feed_forward(i, {}, experts);
    } else {
      b.feed_forward(i);
    }
  }
  b.output();
}

}  // namespace loadline::model::families
