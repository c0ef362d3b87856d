// Qwen 2 to 3, dense and with experts: rope on pairs half a head apart; biases on q, k and v (2), or each head of q and
// k normalised before rope (3).
#include "model/families/families.h"

namespace loadline::model::families {
namespace {

void layers_of_experts(ProgramBuilder& b, const AttentionStyle& attention, const ExpertStyle& experts) {
  for (std::uint32_t i = 0; i < b.config().layers; ++i) {
    b.attention(i, attention);
    b.expert_feed_forward(i, {}, experts);
  }
}

}  // namespace

void qwen2(ProgramBuilder& b) {
  b.embedding();
  b.layers({.needs_biases = true, .rope = b.rope(true)});
  b.output();
}

// Of models that see, the text: of which every token has the same position in all of rope's sections.
static void leave_images_aside(ProgramBuilder& b) {
  b.keys().accept("rope.dimension_sections");
  b.keys().ignore("n_deepstack_layers", "images are not supported, and text has nothing of them");
}

void qwen2vl(ProgramBuilder& b) {
  leave_images_aside(b);
  qwen2(b);
}

void qwen3vl(ProgramBuilder& b) {
  leave_images_aside(b);
  qwen3(b);
}

void qwen3vlmoe(ProgramBuilder& b) {
  leave_images_aside(b);
  qwen3moe(b);
}

void qwen2moe(ProgramBuilder& b) {
  const std::uint32_t width = b.config().feed_forward;
  const std::uint32_t used = b.keys().find_count("expert_used_count", kMostExperts, 0).value_or(0);
  ExpertStyle experts = b.experts({.width = used == 0 ? 0 : width / used, .normalize = false, .shared_gate = true});
  experts.shared = b.keys().find_count("expert_shared_feed_forward_length", kMostWidth).value_or(width);
  b.embedding();
  layers_of_experts(b, {.needs_biases = true, .rope = b.rope(true)}, experts);
  b.output({.matrix = OutputStyle::Matrix::Own});
}

void qwen3(ProgramBuilder& b) {
  b.embedding();
  b.layers({.head_norm = HeadNorm::Each, .rope = b.rope(true)});
  b.output();
}

void qwen3moe(ProgramBuilder& b) {
  const ExpertStyle experts = b.experts();
  b.embedding();
  layers_of_experts(b, {.head_norm = HeadNorm::Each, .rope = b.rope(true)}, experts);
  b.output();
}

}  // namespace loadline::model::families
