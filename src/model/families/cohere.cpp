// Command R and its successor: layer norms without biases, one for attention and feed-forward side by side.
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

OutputStyle output_style(float factor) {
  return {.matrix = OutputStyle::Matrix::Tied, .factor = factor != 0 ? factor : 1.0F};
}

}  // namespace

void command_r(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  b.embedding();
  b.layers({.parallel = Parallel::Same, .head_norm = HeadNorm::OwnIfThere, .rope = b.rope(false)});
  b.output(output_style(b.keys().find_number("logit_scale").value_or(0.0F)));
}

// Only the layers with a window know positions.
void cohere2(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  b.dense();
  const std::vector<bool> windows = b.window_layers(4);
  const std::uint32_t window = b.keys().count("attention.sliding_window", kMostContext);
  const RopeIndex rope = b.rope(false);
  b.embedding();
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    AttentionStyle attention{.parallel = Parallel::Same};
    if (windows[i]) {
      attention.rope = rope;
      attention.window = window;
    }
    b.attention(i, attention);
    b.feed_forward(i);
  }
  b.output(output_style(b.needed(b.keys().find_number("logit_scale").value_or(0.0F), "logit_scale")));
}

}  // namespace loadline::model::families
