// The oracle of the whole forward pass: the layer program run in plain float32 loops on decoded weights. Slow, obvious,
// independent of plans, kernels and threads; every backend is compared with it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "gguf/gguf.h"
#include "model/program.h"

namespace loadline::reference {

// Logits [tokens][vocabulary] of one causal pass, positions from 0. Reads each weight row from the file as it is
// needed, so it fits wherever the activations do. `progress` is called with the share done, after each group; may be
// empty. `context`: the context as others would allocate it, which chooses between long and short rope factors; 0: as
// many as there are tokens. Throws Error(BadInput) for a token outside the vocabulary or a file that fails.
std::vector<float> logits(const gguf::Model& model, const model::Program& program, std::span<const std::int32_t> tokens,
                          const std::function<void(double)>& progress = {}, std::uint32_t context = 0);

// What the logits are made from: the states behind the last layer, normed, [tokens][width of Program::normed].
std::vector<float> states(const gguf::Model& model, const model::Program& program,
                          std::span<const std::int32_t> tokens);

}  // namespace loadline::reference
