// Checks a plan that comes from outside against the model it is to run, so that the executor may believe it.
#pragma once

#include <string_view>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/lowering.h"
#include "plan/plan.h"

namespace loadline::plan {

// Everything the executor relies on: made for this model; every region there with the size and layout it needs, inside
// its arena, aligned, on the tier of its device; nothing overlaps that is alive together; the stream's order keeps to
// the ring; no tier above its budget. Fills in what follows from the rest (stages). Throws Error(BadInput) naming
// `source`.
void validate(Plan& plan, const gguf::Model& model, const model::Program& program, const Backends& backends,
              std::string_view source);

}  // namespace loadline::plan
