// What would fit, or be faster, instead: each suggestion is itself planned, so that following it works.
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

struct Suggestion {
  std::string what;    // "KV cache q8_0", "Q4_0 of this model, 4.34 GiB"
  std::string effect;  // "+3 layers on the GPU", may be empty
  std::string how;     // the flags that do it; empty where it takes more than a flag
  Prediction prediction;
};

// What fits where `options` do not.
std::vector<Suggestion> suggest_fitting(const gguf::Model& model, const model::Program& program,
                                        const hardware::Profile& profile, const Options& options,
                                        const Backends& backends);

// What would be noticeably faster than `plan`, which fits.
std::vector<Suggestion> suggest_faster(const gguf::Model& model, const model::Program& program,
                                       const hardware::Profile& profile, const Options& options,
                                       const Backends& backends, const Plan& plan);

// Aligned lines, one for each.
std::string suggestion_lines(const std::vector<Suggestion>& suggestions);

}  // namespace loadline::plan
