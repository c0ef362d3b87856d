// OLMo 2 and 3, EXAONE 4: no norm before a block but one after it.
#include <fmt/format.h>

#include "base/error.h"
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
  // The largest one has windows, which nobody has compared with another implementation yet.
  if (b.config().layers == 64) {
    throw bad_input(
        fmt::format("{} is 64: the windows of this model are not supported yet", b.keys().key("block_count")));
  }
  for (const char* suffix : {"attention.sliding_window", "attention.sliding_window_pattern"}) {
    b.keys().ignore(suffix, "models of this family with other than 64 layers are run without windows");
  }
  b.embedding();
  b.layers(attention_style(HeadNorm::Each, b.rope(true)), kPostNormed);
  b.output();
}

}  // namespace loadline::model::families
