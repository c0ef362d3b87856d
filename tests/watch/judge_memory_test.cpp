// Troubles with memory by their own names: of RAM, of its control group and of a card.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "watch/judge.h"
#include "watch/scenario.h"

namespace loadline::watch {
namespace {

using test::Scenario;
using test::slower;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;
using Step = Scenario::Step;

constexpr int kSoon = 8;  // samples

TEST(Judge, finds_pages_that_come_back_from_disk) {
  Scenario machine;
  machine.run(20);
  Step step = slower(4);
  step.faults = 60;
  step.full = 20;
  step.swapped_mib = 2;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::Thrashing));
  EXPECT_THAT(machine.last().evidence,
              AllOf(HasSubstr("pages a second come from disk"), HasSubstr("swapped out"), HasSubstr("times a second")));
}

TEST(Judge, says_that_a_group_is_full_all_the_time_and_not_how_many_thousand_times) {
  Scenario machine;
  machine.run(20);
  Step step = slower(4);
  step.faults = 60;
  step.full = 1700;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::Thrashing));
  EXPECT_THAT(machine.last().evidence,
              AllOf(HasSubstr("its control group is full all the time"), Not(HasSubstr("times a second"))));
}

// What nobody asks for again may go, and who waits for memory may be another program.
TEST(Judge, does_not_take_pages_that_go_and_stay_away_for_what_others_processors_cost) {
  Scenario machine;
  machine.run(20);
  Step step = slower(1.5);
  step.waited = 0.2;
  step.others = 0.2;
  step.swapped_mib = 3;
  step.memory_stalled = 0.03;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::Starved));
}

TEST(Judge, counts_what_thrashing_costs_as_that_where_the_limit_was_lowered_too) {
  Scenario machine;
  machine.run(20);
  Step step = slower(4);
  step.faults = 60;
  const auto lowered = [](Sample& sample) { sample.group.limit = sample.group.used; };
  EXPECT_THAT(machine.run(kSoon, step, lowered), UnorderedElementsAre(Kind::Squeezed, Kind::Thrashing));
  const Losses& losses = machine.judge().losses();
  EXPECT_GT(losses.lost[static_cast<std::size_t>(Kind::Thrashing)], 0);
  EXPECT_EQ(losses.lost[static_cast<std::size_t>(Kind::Squeezed)], 0);
}

TEST(Judge, finds_them_without_pressure_files_and_groups) {
  Scenario machine;
  const auto bare = [](Sample& sample) {
    sample.machine.memory_pressure.reset();
    sample.group = {};
  };
  machine.run(20, Step{}, bare);
  Step step = slower(4);
  step.faults = 60;
  EXPECT_THAT(machine.run(kSoon, step,
                          [&](Sample& sample) {
                            sample.machine.memory_pressure.reset();
                            sample.group = {};
                          }),
              ElementsAre(Kind::Thrashing));
}

TEST(Judge, says_nothing_of_pages_that_cost_no_time) {
  Scenario machine;
  machine.run(20);
  Step step;
  step.faults = 60;
  EXPECT_THAT(machine.run(40, step), IsEmpty());
}

TEST(Judge, finds_a_limit_that_came_down_on_what_is_held) {
  Scenario machine;
  machine.run(20);
  EXPECT_THAT(machine.run(kSoon, Step{}, [](Sample& sample) { sample.group.limit = 2 * kGiB + kMiB; }),
              ElementsAre(Kind::Squeezed));
  EXPECT_THAT(machine.last().evidence, AllOf(HasSubstr("lowered to 2.00 GiB"), HasSubstr("2.00 GiB are in use")));
}

TEST(Judge, finds_ram_that_others_took) {
  Scenario machine;
  machine.run(20);
  EXPECT_THAT(machine.run(kSoon, Step{}, [](Sample& sample) { sample.machine.available = 200 * kMiB; }),
              ElementsAre(Kind::Squeezed));
  EXPECT_THAT(machine.last().evidence, AllOf(HasSubstr("7.80 GiB more"), HasSubstr("200 MiB of 16")));
}

TEST(Judge, says_nothing_of_a_container_that_was_nearly_full_when_the_model_was_loaded) {
  Scenario machine;
  machine.sample().group.limit = 2 * kGiB + 8 * kMiB;
  Judge judge(Scenario::usual_promise());
  Sample sample = machine.sample();
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(judge.take(sample), IsEmpty());
    sample.time += 0.25;
    sample.wall_time += 0.25;
  }
}

TEST(Judge, finds_graphics_memory_that_others_took) {
  Scenario machine;
  machine.run(20);
  EXPECT_THAT(machine.run(kSoon, Step{}, [](Sample& sample) { sample.gpus[1].budget = 512 * kMiB; }),
              ElementsAre(Kind::Squeezed));
  EXPECT_EQ(machine.last().device, 1U);
  EXPECT_THAT(machine.last().evidence, AllOf(HasSubstr("512 MiB of Card"), HasSubstr("it holds 1.00 GiB")));

  Scenario other;
  other.run(20);
  EXPECT_THAT(other.run(kSoon, Step{}, [](Sample& sample) { sample.gpus[1].used = 8 * kGiB; }),
              ElementsAre(Kind::Squeezed));
  EXPECT_THAT(other.last().evidence, HasSubstr("6.00 GiB more of Card"));
}

TEST(Judge, finds_what_the_driver_moved_to_system_memory) {
  Scenario machine;
  machine.run(20);
  Step step;
  step.passes = 1;
  step.gpu_seconds = 0.2;
  step.pass_seconds = 0.23;
  EXPECT_THAT(machine.run(kSoon, step, [](Sample& sample) { sample.gpus[1].moved = 700 * kMiB; }),
              ElementsAre(Kind::Spilled));
  EXPECT_THAT(line(machine.last()), AllOf(HasSubstr("about 600 MiB of Card"),
                                          HasSubstr("700 MiB there now, 100 MiB before"), HasSubstr("times as long")));
}

TEST(Judge, finds_weights_that_come_at_the_speed_of_the_bus) {
  Scenario machine;
  const auto untold = [](Sample& sample) { sample.gpus[1] = {}; };
  machine.run(20, Step{}, untold);
  Step step;
  step.passes = 2;
  step.gpu_seconds = 0.084;  // 800 MiB at 10 GB/s
  step.pass_seconds = 0.114;
  EXPECT_THAT(machine.run(kSoon, step, untold), ElementsAre(Kind::Spilled));
  EXPECT_THAT(machine.last().evidence, HasSubstr("the speed of the bus"));
}

TEST(Judge, says_of_no_device_in_ram_that_its_weights_were_moved_there) {
  Promise promise = Scenario::usual_promise();
  promise.devices[1].holds_ram = true;
  Scenario machine(promise);
  const auto untold = [](Sample& sample) { sample.gpus[1] = {}; };
  machine.run(20, Step{}, untold);
  Step step;
  step.passes = 2;
  step.gpu_seconds = 0.084;  // 800 MiB at 10 GB/s, as over a bus
  step.pass_seconds = 0.114;
  EXPECT_THAT(machine.run(40, step, untold), ElementsAre(Kind::Mispredicted));
}

}  // namespace
}  // namespace loadline::watch
