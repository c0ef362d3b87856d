// Where a group may be cut between devices, and what crosses there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/program.h"
#include "plan/plan.h"

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

// The values besides the hidden state that live across groups, and that the stage reads as others left them.
std::vector<model::ValueId> carried_into(const model::Program& program, const Stage& stage);

// Such a value on its way from the device that made it to another that reads it. It stays on both: stages between them
// know nothing of it.
struct CarriedCrossing {
  model::ValueId value;
  std::uint32_t from;  // the stage that made it
  std::uint32_t to;    // the first of the other device that reads it
};
// Of all stages of a plan, those of prompts included.
std::vector<CarriedCrossing> carried_crossings(const model::Program& program, std::span<const Stage> stages);

// Whether an operation of the group reads or makes such a value.
bool has_carried(const model::Program& program, const model::Group& group);

// The groups that read a cache which another one fills, and those that fill them: all must be on one device, as a cache
// does not cross. Ascending; empty where every group has its own.
std::vector<std::uint32_t> groups_that_share_caches(const model::Program& program);

}  // namespace loadline::plan
