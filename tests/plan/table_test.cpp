// A table of plans, models by machines by contexts, and what holds for all of them.
#include "plan/table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "engine/backends.h"
#include "plan/budgets.h"
#include "plan/costs.h"
#include "plan/layout.h"
#include "plan/machines.h"
#include "plan/models.h"
#include "plan/planner.h"
#include "plan/predict.h"
#include "plan/rates.h"
#include "plan/soundness.h"

namespace loadline::plan {
namespace {

using test::kCells;
using test::machines;
using test::models;
using test::named;
using test::NamedModel;
using test::options_of;

TEST(Table, every_plan_is_exact_within_its_budgets_repeatable_and_written_as_it_is) {
  std::size_t fitting = 0;
  for (const NamedModel& model : models()) {
    for (const test::Machine& machine : machines()) {
      for (const test::Cell& cell : kCells) {
        SCOPED_TRACE(fmt::format("{}, {}, {} card(s), context {}", model.name, to_string(machine.ram),
                                 machine.cards.size(), cell.context));
        const hardware::Profile profile = test::machine(machine.ram, machine.cards);
        const Options options = options_of(cell);
        const Attempt attempt = try_plan(model.model, model.program, profile, options, engine::backends());
        if (!attempt.fits) continue;
        ++fitting;
        test::expect_sound({model.model, model.program, profile, options}, attempt.plan);
        EXPECT_GT(attempt.plan.prediction.generation_rate, 0);
        EXPECT_GT(attempt.plan.prediction.prompt_rate, 0);
        EXPECT_FALSE(attempt.plan.prediction.generation_bound.empty());
      }
    }
  }
  EXPECT_GE(fitting, models().size() * machines().size() * kCells.size() * 8 / 10);
}

double rate(const NamedModel& model, const hardware::Profile& profile, const Options& options) {
  const Attempt attempt = try_plan(model.model, model.program, profile, options, engine::backends());
  return attempt.fits ? attempt.plan.prediction.generation_rate : 0;
}

// Where groups lie for generation alone. For the sake of prompts a plan may give up a little of it
// (plan/prompt_choice.h), so where steps are compared that is left out.
Options for_generation() {
  Options options;
  options.prompt_offload = false;
  return options;
}

TEST(Table, more_gpu_memory_is_never_slower) {
  for (const NamedModel& model : models()) {
    for (const std::vector<std::string>& cards : {std::vector<std::string>{"RTX 4090"}, {"RTX 3060", "RTX 3090"}}) {
      const hardware::Profile profile = test::machine(64 * kGiB, cards);
      double before = 0;
      for (std::uint64_t mib = 128; mib <= 24576; mib = mib * 5 / 4) {
        Options options = for_generation();
        options.gpu_budget = Bytes(mib << 20);
        const double now = rate(model, profile, options);
        EXPECT_GE(now, before * 0.999999) << model.name << " on " << cards.size() << " with " << mib << " MiB each";
        before = now;
      }
    }
  }
}

TEST(Table, more_ram_is_never_slower) {
  for (const NamedModel& model : models()) {
    for (const std::vector<std::string>& cards : {std::vector<std::string>{}, {"RTX 3060"}}) {
      const hardware::Profile profile = test::machine(128 * kGiB, cards);
      double before = 0;
      for (std::uint64_t mib = 256; mib <= 65536; mib = mib * 4 / 3) {
        Options options = for_generation();
        options.ram_budget = Bytes(mib << 20);
        const double now = rate(model, profile, options);
        EXPECT_GE(now, before * 0.999999) << model.name << " with " << cards.size() << " card(s) and " << mib << " MiB";
        before = now;
      }
      EXPECT_GT(before, 0) << model.name;
    }
  }
}

// What -ngl can say, tried for every number of layers: none is predicted to generate faster than what is placed
// automatically, whatever prompts would like, with RAM to spare and without.
void expect_no_whole_layers_faster(const NamedModel& model, const hardware::Profile& profile, Options options) {
  options.gpu_layers = {};
  const double automatic = rate(model, profile, options);
  for (std::uint32_t layers = 0; layers <= model.program.config.layers + 1; ++layers) {
    options.gpu_layers = {GpuLayers::Kind::Count, layers};
    EXPECT_LE(rate(model, profile, options), automatic * 1.000001) << "-ngl " << layers;
  }
}

TEST(Table, automatic_placement_is_never_slower_than_any_number_of_whole_layers) {
  for (const NamedModel* model : {&models()[0], &models()[1], &models()[2]}) {
    const Bytes size = model->model.tensor_bytes();
    for (const std::vector<std::string>& cards :
         {std::vector<std::string>{"RTX 3050 Ti Mobile"}, {"RTX 3060"}, {"RTX 3050 Ti Mobile", "RTX 3060"}}) {
      const hardware::Profile profile = test::machine(16 * kGiB, cards);
      for (const bool prompts : {true, false}) {
        for (const std::uint64_t share : {2, 5, 9, 20}) {
          for (const bool scarce : {false, true}) {
            Options options;
            options.prompt_offload = prompts;
            options.gpu_budget = size * share / 10 + 100 * kMiB;
            if (scarce) options.ram_budget = size / 4 + 100 * kMiB;
            SCOPED_TRACE(fmt::format("{} on {} with {} each{}{}", model->name, fmt::join(cards, " and "),
                                     to_string(*options.gpu_budget), scarce ? ", little RAM" : "",
                                     prompts ? ", prompts too" : ""));
            expect_no_whole_layers_faster(*model, profile, options);
          }
        }
      }
    }
  }
}

// With several GPUs the search is exact for small problems only; these are larger. -ngl may spread its layers over the
// GPUs group by group.
TEST(Table, automatic_placement_over_several_gpus_is_never_slower_than_whole_layers) {
  for (const NamedModel* model : {&models()[1], &models()[2]}) {
    const Bytes size = model->model.tensor_bytes();
    for (const std::vector<std::string>& cards :
         {std::vector<std::string>{"RTX 4090", "GTX 1660 Super"}, {"RTX 3060", "RTX 3060", "RTX 2060 6GB"}}) {
      const hardware::Profile profile = test::machine(16 * kGiB, cards);
      for (const auto& [first, second] : {std::pair{1, 3}, {4, 2}, {6, 5}}) {
        Options options;
        for (std::uint32_t i = 0; i < cards.size(); ++i) {
          options.gpu_budgets[i] = size * static_cast<std::uint64_t>(i == 1 ? second : first) / 10 + 90 * kMiB;
        }
        SCOPED_TRACE(fmt::format("{} on {} with {}0 and {}0 %", model->name, fmt::join(cards, ", "), first, second));
        expect_no_whole_layers_faster(*model, profile, options);
      }
    }
  }
}

// Every placement of a small model's groups, by the real sums of its layout.
TEST(Table, automatic_placement_is_the_fastest_of_all_placements_of_a_small_model) {
  test::ModelShape shape = test::llama_3_2_1b();
  shape.layers = 3;
  shape.vocabulary = 32000;
  const NamedModel model = named("three layers", shape, test::q4_k_m(3));
  const hardware::Profile profile = test::machine(16 * kGiB, {"RTX 3060"});
  const std::size_t groups = model.program.groups.size();
  ASSERT_EQ(groups, 8U);
  for (std::uint64_t mib = 130; mib <= 420; mib += 7) {
    Options options = for_generation();
    options.gpu_budget = Bytes(mib << 20);
    const Plan automatic = make_plan(model.model, model.program, profile, options, engine::backends());
    const NeedsTable needs(model.model, model.program, automatic.shape, engine::backends(), 2);
    const CostModel costs(model.model, model.program, automatic.shape,
                          make_rates(profile, automatic.shape, engine::backends()));
    double best = 0;
    Placement placement = placement_of(model.model, automatic);
    for (std::uint32_t on_gpu = 0; on_gpu < 1U << groups; on_gpu += 2) {  // the embedding stays in RAM
      for (std::size_t g = 0; g < groups; ++g) placement.groups[g].device = on_gpu >> g & 1U;
      const Plan plan = lay_out(needs, automatic.tiers, context_overheads(profile), placement);
      if (tier_total(plan, 1) > plan.tiers[1].budget) continue;
      best = std::max(best, predict(model.model, plan, costs).generation_rate);
    }
    EXPECT_GE(automatic.prediction.generation_rate, best * 0.999999) << mib << " MiB";
  }
}

// One group more on the GPU does not fit, or would not be faster: a group that costs two changes of device, say.
TEST(Table, a_gpu_is_filled_to_the_last_group_that_pays) {
  for (const NamedModel* model : {&models()[1], &models()[2]}) {
    const hardware::Profile profile = test::machine(64 * kGiB, {"RTX 4090"});
    std::size_t full = 0;
    for (std::uint64_t mib = 700; mib <= 8000; mib = mib * 7 / 5) {
      Options options = for_generation();
      options.gpu_budget = Bytes(mib << 20);
      const Attempt attempt = try_plan(model->model, model->program, profile, options, engine::backends());
      ASSERT_TRUE(attempt.fits);
      const Plan& plan = attempt.plan;
      const NeedsTable needs(model->model, model->program, plan.shape, engine::backends(), 2);
      const CostModel costs(model->model, model->program, plan.shape,
                            make_rates(profile, plan.shape, engine::backends()));
      for (std::size_t g = 1; g < plan.groups.size(); ++g) {
        if (plan.groups[g].device != kCpu) continue;
        Placement placement = placement_of(model->model, plan);
        placement.groups[g].device = 1;
        const Plan more = lay_out(needs, plan.tiers, context_overheads(profile), placement);
        if (tier_total(more, 1) > plan.tiers[1].budget) {
          ++full;
          continue;
        }
        EXPECT_LE(predict(model->model, more, costs).generation_rate, plan.prediction.generation_rate)
            << model->name << " with " << mib << " MiB: group " << g;
      }
    }
    EXPECT_GT(full, 0U);
  }
}

TEST(Table, a_budget_in_gib_is_never_exceeded) {
  const Bytes budget = parse_bytes("11.5GiB", "--vram");
  for (const NamedModel& model : models()) {
    for (const char* card : {"RTX 3060", "RTX 4070", "RTX 3080 12GB", "RTX 4090", "A100 80GB"}) {
      for (const test::Cell& cell : kCells) {
        Options options = options_of(cell);
        options.gpu_budget = budget;
        const Attempt attempt =
            try_plan(model.model, model.program, test::machine(64 * kGiB, {card, card}), options, engine::backends());
        if (!attempt.fits) continue;
        EXPECT_LE(tier_total(attempt.plan, 1), budget) << model.name << " on " << card;
        EXPECT_LE(tier_total(attempt.plan, 2), budget) << model.name << " on " << card;
        EXPECT_LT(attempt.plan.arenas.size(), 1000U) << model.name << ": a driver may allow 4096 allocations in all";
        for (const Arena& arena : attempt.plan.arenas) {
          EXPECT_TRUE(arena.tier == kCpu || arena.size <= budget);
        }
      }
    }
  }
}

TEST(Table, the_largest_context_fits_and_a_page_more_does_not) {
  const NamedModel& model = models()[2];
  const hardware::Profile profile = test::machine(64 * kGiB, {});
  Options options;
  options.largest_context = true;
  options.ram_budget = 5400 * kMiB;
  options.disk = false;
  const Attempt largest = try_plan(model.model, model.program, profile, options, engine::backends());
  ASSERT_TRUE(largest.fits);
  EXPECT_LT(largest.plan.shape.context, model.program.config.trained_context);
  options.largest_context = false;
  options.context = largest.plan.shape.context;
  EXPECT_TRUE(try_plan(model.model, model.program, profile, options, engine::backends()).fits);
  options.context = largest.plan.shape.context + 32;
  EXPECT_FALSE(try_plan(model.model, model.program, profile, options, engine::backends()).fits);
}

}  // namespace
}  // namespace loadline::plan
