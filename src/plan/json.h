// A plan as JSON: `loadline plan --json` prints it, --out stores it, `loadline run --plan` executes it. Sizes are
// bytes.
#pragma once

#include <string>
#include <string_view>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::plan {

std::string to_json(const gguf::Model& model, const model::Program& program, const Plan& plan);

// Throws Error(BadInput) naming `source` and the member that is wrong. What it says is well formed, but not yet to be
// believed: validate it (validate.h) before use.
Plan plan_from_json(std::string_view text, std::string_view source);

}  // namespace loadline::plan
