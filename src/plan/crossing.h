// Where a group may be cut between devices, and what crosses there.
#pragma once

#include <cstdint>
#include <span>

#include "model/program.h"

namespace loadline::plan {

// The operations of an attention that belong where its cache is: head norms, rope, attention itself. Empty for other
// groups.
struct OpRange {
  std::uint32_t first;
  std::uint32_t end;
};
OpRange cache_ops(const model::Group& group);

// The values that cross from one device to another before operation `op` of a group: the hidden state before a whole
// group, q, k and v before what works on an attention's cache, and its result after that.
std::span<const model::ValueId> crossing_values(const model::Group& group, std::uint32_t op);

}  // namespace loadline::plan
