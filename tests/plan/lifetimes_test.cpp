// Over the table of plans: nothing that a step of the CPU reads has been written over.
#include "plan/lifetimes.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/backends.h"
#include "plan/machines.h"
#include "plan/planner.h"
#include "plan/table.h"

namespace loadline::plan {
namespace {

TEST(Lifetimes, no_step_reads_what_was_written_over) {
  for (const test::NamedModel& model : test::models()) {
    for (const test::Machine& machine : test::machines()) {
      if (machine.cards.size() > 1) continue;  // as one card, as far as the CPU is concerned
      for (const test::Cell& cell : test::kCells) {
        SCOPED_TRACE(fmt::format("{}, {} card(s), context {}", model.name, machine.cards.size(), cell.context));
        const hardware::Profile profile = test::machine(machine.ram, machine.cards);
        const Options options = test::options_of(cell);
        const Attempt attempt = try_plan(model.model, model.program, profile, options, engine::backends());
        if (!attempt.fits) continue;
        test::expect_nothing_is_read_that_was_overwritten({model.model, model.program, profile, options}, attempt.plan);
      }
    }
  }
}

}  // namespace
}  // namespace loadline::plan
