// Whether what the CPU's steps read is still what was written there: the plan's regions, replayed step by step. It does
// not ask the planner who may lie over whom.
#pragma once

#include "plan/soundness.h"

namespace loadline::test {

void expect_nothing_is_read_that_was_overwritten(const PlanCase& given, const plan::Plan& plan);

}  // namespace loadline::test
