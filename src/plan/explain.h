// Why a plan is as it is: what else could have been chosen, and how fast that would be by prediction.
#pragma once

#include <string>
#include <vector>

#include "gguf/gguf.h"
#include "hardware/profile.h"
#include "model/program.h"
#include "plan/lowering.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace loadline::plan {

struct Alternative {
  std::string what;  // "20 layers on GPUs", "4 threads"
  bool fits = false;
  Prediction prediction;  // where it fits
};

// The `most` alternatives nearest to `plan`, which was made with `options`: each changes one thing of it, and is itself
// planned. Nearest first, by predicted speed; those that do not fit come last.
std::vector<Alternative> nearest_alternatives(const gguf::Model& model, const model::Program& program,
                                              const hardware::Profile& profile, const Options& options,
                                              const Backends& backends, const Plan& plan, std::size_t most = 3);

// Aligned lines: the plan itself, then the alternatives.
std::string explanation_lines(const Plan& plan, const std::vector<Alternative>& alternatives);

}  // namespace loadline::plan
