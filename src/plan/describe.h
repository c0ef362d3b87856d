// Small facts about plans and models that several places put into words.
#pragma once

#include <cstdint>
#include <string>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::plan {

// Layers counted as -ngl counts them: the output is one more.
struct LayersOnGpu {
  std::uint32_t whole = 0;         // attention and feed-forward, or the output
  std::uint32_t attention = 0;     // only the attention
  std::uint32_t feed_forward = 0;  // only the feed-forward
};
LayersOnGpu layers_on_gpu(const model::Program& program, const Plan& plan);

// "8.45 tok/s", "310 tok/s": three digits.
std::string rate_text(double tokens_per_second);

// "Llama 3 8B Instruct · llama · Q4_K_M · 8.03 B parameters · 4.58 GiB in one file"
std::string model_line(const gguf::Model& model, const model::Program& program);

}  // namespace loadline::plan
