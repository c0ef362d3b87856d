// What holds for every plan, whatever it was made for.
#pragma once

#include "gguf/gguf.h"
#include "hardware/profile.h"
#include "model/program.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace loadline::test {

// One case of a table: what is planned for.
struct PlanCase {
  const gguf::Model& model;
  const model::Program& program;
  const hardware::Profile& profile;
  const plan::Options& options;
};

// Sums are exact and within the budgets; every region lies in its arena, aligned, apart from all that is alive with it;
// every tensor and every layer's cache has its place on the device that uses it; making the plan again makes the same;
// reading what was written gives the same and passes validation.
void expect_sound(const PlanCase& given, const plan::Plan& plan);

}  // namespace loadline::test
