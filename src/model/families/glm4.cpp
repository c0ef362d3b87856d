// GLM 4 (0414): norms before and after each block, rope on half of each head.
#include "model/families/families.h"

namespace loadline::model::families {

void glm4(ProgramBuilder& b) {
  b.skip_prediction_layers();
  b.embedding();
  b.layers({.branch = {.post_norm = "post_attention_norm"}, .rope = b.rope(false)},
           {.branch = {.post_norm = "post_ffw_norm"}, .fused = true});
  b.output();
}

}  // namespace loadline::model::families
