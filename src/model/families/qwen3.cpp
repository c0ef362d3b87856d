// Qwen 3 (dense): no biases, each head of q and k normalised before rope.
#include "model/families/families.h"

namespace loadline::model::families {

void qwen3(ProgramBuilder& builder) {
  builder.config().rope.neox = true;
  builder.dense();
  builder.embedding();
  for (std::uint32_t layer = 0; layer < builder.config().layers; ++layer) {
    builder.attention(layer, {.head_norm = true});
    builder.feed_forward(layer);
  }
  builder.output();
}

}  // namespace loadline::model::families
