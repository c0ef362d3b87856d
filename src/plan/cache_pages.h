// How many pages, and how many states, the caches of a program have for a shape: what backends allocate, and what
// exec/ hands out. It knows no bytes.
#pragma once

#include <cstdint>

#include "model/program.h"
#include "plan/plan.h"

namespace loadline::plan {

// Of a cache that keeps every position.
std::uint32_t full_pages(const Shape& shape);

// The most positions that a token sees of the program's caches of kind Window, its own included; 0 where it has none.
std::uint32_t longest_window(const model::Program& program);

// Of every cache of kind Window, for all sequences together: they share one list of pages, so that they all have as
// many as the longest window asks for. As many as of a full cache where that is not more: such a cache is a full one.
std::uint32_t window_pages(const model::Program& program, const Shape& shape);
// Whether the caches of kind Window are kept in fewer pages than a full cache has.
bool has_window_pages(const model::Program& program, const Shape& shape);
// Of that cache; not for one of states.
std::uint32_t cache_pages(const model::Program& program, const model::Cache& cache, const Shape& shape);

// Of every cache of kind State: what each sequence has, what the running pass makes of it, and a snapshot for each, of
// some earlier point of a text that may be gone on with from there.
constexpr std::uint32_t states_of(const Shape& shape) { return 3 * shape.sequences; }

}  // namespace loadline::plan
