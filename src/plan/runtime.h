// What the process holds besides the arenas: its code, the vocabulary and metadata, stacks, what the allocator keeps,
// and what the kernel holds for it, which a control group's limit counts too.
// Accounted as regions of the Runtime arena, which nobody allocates as one piece.
#pragma once

#include <string>
#include <vector>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::plan {

struct RuntimePart {
  std::string name;
  Bytes size;
};

// Of the process, in RAM. Measured from outside on models of all sizes; the constants are in runtime.cpp.
// `arenas`: all that is allocated in RAM; `has_gpu`: some of the model is on one.
std::vector<RuntimePart> runtime_parts(const gguf::Model& model, const model::Program& program, const Shape& shape,
                                       Bytes arenas, bool has_gpu);

// What exec/ keeps of each session beside its tables of pages, of each page of the cache and of each state
// (exec/scheduler.h, page_pool.h, state_places.h, which assert it).
inline constexpr Bytes kSession(1024);
inline constexpr Bytes kPageEntry(192);
inline constexpr Bytes kStateEntry(192);
// Of all sessions of the shape.
Bytes session_bytes(const model::Program& program, const Shape& shape);

}  // namespace loadline::plan
