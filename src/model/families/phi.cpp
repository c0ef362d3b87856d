// Phi 2: layer norms, one for attention and feed-forward side by side. Phi 3, 3.5 and 4: fused matrices, and rope whose
// frequencies are divided by other factors for long contexts.
#include "model/families/families.h"

namespace loadline::model::families {

void phi2(ProgramBuilder& b) {
  b.norms(ops::NormKind::Layer);
  b.embedding();
  b.layers({.parallel = Parallel::Same, .rope = b.rope(true)}, {.activation = Activation::Gelu, .gated = false});
  b.output({.matrix = OutputStyle::Matrix::Own});
}

void phi3(ProgramBuilder& b) {
  b.keys().ignore("attention.sliding_window", "models of this family are run without a window");
  b.config().rope.neox = true;
  b.embedding();
  b.layers({.rope = b.rope_with_long_factors(b.config().rope)}, {.fused = true});
  b.output();
}

}  // namespace loadline::model::families
