// Over the table of plans, and over a model of every family: nothing that a step of the CPU reads has been written
// over.
#include "plan/lifetimes.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/backends.h"
#include "gguf/gguf.h"
#include "plan/machines.h"
#include "plan/planner.h"
#include "plan/table.h"
#include "support/test_data.h"

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

TEST(Lifetimes, nor_in_a_model_of_any_family) {
  LOADLINE_REQUIRE_SHARED(folder, "golden2");
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    SCOPED_TRACE(entry.path().stem());
    const gguf::Model model = gguf::open_model(entry.path());
    const model::Program program = model::build_program(model);
    const hardware::Profile profile = test::machine(16 * kGiB);
    for (const test::Cell& cell : test::kCells) {
      Options options = test::options_of(cell);
      options.k_type = options.v_type = quant::TensorType::F16;  // for heads of any size
      const Attempt attempt = try_plan(model, program, profile, options, engine::backends());
      if (!attempt.fits) continue;  // for a context that the positions of the model do not reach
      test::expect_nothing_is_read_that_was_overwritten({model, program, profile, options}, attempt.plan);
    }
  }
}

}  // namespace
}  // namespace loadline::plan
