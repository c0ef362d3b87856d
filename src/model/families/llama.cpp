// Llama 1 to 3.x, Mistral, and what else is exported as "llama": grouped-query attention without biases, rope on
// neighbouring pairs (the exporter permutes q and k for it), SwiGLU.
#include "model/families/families.h"

namespace loadline::model::families {

void llama(ProgramBuilder& builder) {
  builder.config().rope.neox = false;
  builder.dense();
  builder.embedding();
  for (std::uint32_t layer = 0; layer < builder.config().layers; ++layer) {
    builder.attention(layer, {});
    builder.feed_forward(layer);
  }
  builder.output();
}

}  // namespace loadline::model::families
