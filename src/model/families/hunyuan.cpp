// Hunyuan, dense and with experts: heads normalised after rope.
#include "model/families/families.h"

namespace loadline::model::families {

void hunyuan(ProgramBuilder& b) {
  const AttentionStyle attention{.head_norm = HeadNorm::Each, .norm_after_rope = true, .rope = b.rope(true)};
  b.embedding();
  if (!b.has_experts()) {
    b.layers(attention);
  } else {
    ExpertStyle experts = b.experts({.width = b.config().feed_forward});
    experts.shared =
        b.keys().find_count("expert_shared_feed_forward_length", kMostWidth).value_or(b.config().feed_forward);
    for (std::uint32_t i = 0; i < b.config().layers; ++i) {
      b.attention(i, attention);
      b.expert_feed_forward(i, {}, experts);
    }
  }
  b.output();
}

}  // namespace loadline::model::families
