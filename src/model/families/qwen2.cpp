// Qwen 2 and 2.5: Llama with biases on q, k and v, and rope on pairs half a head apart.
#include "model/families/families.h"

namespace loadline::model::families {

void qwen2(ProgramBuilder& builder) {
  builder.config().rope.neox = true;
  builder.dense();
  builder.embedding();
  for (std::uint32_t layer = 0; layer < builder.config().layers; ++layer) {
    builder.attention(layer, {.biases = true});
    builder.feed_forward(layer);
  }
  builder.output();
}

}  // namespace loadline::model::families
