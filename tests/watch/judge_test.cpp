// Each trouble is named within eight samples by its own name, and nothing is where nothing is wrong.
#include "watch/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "watch/report.h"
#include "watch/scenario.h"

namespace loadline::watch {
namespace {

using test::Scenario;
using test::slower;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Step = Scenario::Step;

constexpr int kSoon = 8;  // samples

TEST(Judge, says_nothing_of_a_healthy_hour) {
  Scenario machine;
  EXPECT_THAT(machine.run(4 * 3600), IsEmpty());
  EXPECT_EQ(lost_line(machine.judge().losses()), "");
}

TEST(Judge, says_nothing_of_an_idle_process_on_a_busy_machine) {
  Scenario machine;
  Step step;
  step.passes = 0;
  step.ran = 0.001;
  step.waited = 0.002;
  step.others = 0.5;
  EXPECT_THAT(machine.run(400, step), IsEmpty());
}

TEST(Judge, says_nothing_where_others_use_what_is_left) {
  Scenario machine;
  Step step;
  step.ran = 0.25;
  step.waited = 0.01;
  step.others = 0.24;
  EXPECT_THAT(machine.run(400, step), IsEmpty());
}

TEST(Judge, says_nothing_of_more_threads_than_processors) {
  Scenario machine;
  Step step;
  step.waited = 0.5;
  step.others = 0.01;
  EXPECT_THAT(machine.run(400, step), IsEmpty());
}

TEST(Judge, says_nothing_while_predictions_are_somewhat_off) {
  Scenario machine;
  Step step;
  step.predicted = 0.03;  // and 0.05 it takes
  EXPECT_THAT(machine.run(400, step), IsEmpty());
}

TEST(Judge, says_nothing_while_a_context_grows_and_attention_costs_somewhat_more_than_predicted) {
  Scenario machine;
  Step step;
  for (int i = 0; i < 400; ++i) {
    step.pass_seconds += 0.0001;
    step.predicted += 0.00007;
    ASSERT_THAT(machine.run(1, step), IsEmpty()) << "sample " << i;
  }
}

TEST(Judge, says_nothing_of_one_slow_pass) {
  Scenario machine;
  machine.run(20);
  EXPECT_THAT(machine.run(1, slower(8)), IsEmpty());
  EXPECT_THAT(machine.run(20), IsEmpty());
}

TEST(Judge, says_nothing_of_a_machine_that_slept) {
  Scenario machine;
  machine.run(20);
  Step woken = slower(3);
  woken.slept = 3600;
  woken.faults = 3000;
  woken.others = 0.5;
  woken.waited = 0.4;
  EXPECT_THAT(machine.run(1, woken), IsEmpty());
  EXPECT_THAT(machine.run(20), IsEmpty());
  EXPECT_THAT(machine.judge().verdicts(), IsEmpty());
}

TEST(Judge, says_nothing_of_a_process_that_was_stopped_and_goes_on) {
  Scenario machine;
  machine.run(20);
  Step stopped;
  stopped.seconds = 30;
  stopped.passes = 0;
  stopped.running = 30;
  machine.run(1, stopped);
  Step still;  // the pass that was under way
  still.passes = 0;
  still.running = 30.25;
  EXPECT_THAT(machine.run(1, still), IsEmpty());
  Step ended;
  ended.passes = 1;
  ended.pass_seconds = 30.3;
  EXPECT_THAT(machine.run(1, ended), IsEmpty());
  EXPECT_THAT(machine.run(20), IsEmpty());
  EXPECT_EQ(lost_line(machine.judge().losses()), "");
}

// As a terminal's ctrl-z and `fg`, a container that is paused, or a virtual machine that its host does not run.
TEST(Judge, says_nothing_of_a_process_that_was_stopped_for_a_moment) {
  for (double seconds = 0.1; seconds < 2; seconds += 0.1) {
    Scenario machine;
    Step usual;
    usual.predicted = 0.03;  // and 0.05 it takes: half as long again more, and it were a verdict
    machine.run(40, usual);
    Step stopped = usual;  // the sample is the first that happens when it goes on
    stopped.seconds += seconds;
    stopped.passes = 4;
    stopped.running = seconds + 0.05;
    stopped.running_predicted = 0.03;
    Step ended = usual;
    ended.pass_seconds += seconds / 5;
    for (int i = 0; i < 3; ++i) {
      EXPECT_THAT(machine.run(1, stopped), IsEmpty()) << seconds << " s";
      EXPECT_THAT(machine.run(1, ended), IsEmpty()) << seconds << " s";
      EXPECT_THAT(machine.run(kSoon, usual), IsEmpty()) << seconds << " s";
    }
  }
}

TEST(Judge, finds_processors_that_others_have_also_by_samples_that_come_late_for_it) {
  Scenario machine;
  machine.run(20);
  Step step = slower(3);
  step.seconds = 0.6;
  step.passes = 4;
  step.ran = 0.4;
  step.waited = 0.6;
  step.others = 0.7;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::Starved));
}

TEST(Judge, finds_what_is_wrong_where_every_sample_takes_long) {
  Scenario machine;
  Step step;
  step.seconds = 0.8;
  step.passes = 16;
  machine.run(20, step);
  step.pass_seconds = 0.15;
  step.passes = 5;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::Mispredicted));
}

TEST(Judge, does_not_blame_others_for_what_waits_for_its_disk) {
  Scenario machine;
  Step usual;
  usual.ran = 0.05;
  machine.run(20, usual);
  Step step = slower(1.6);
  step.ran = 0.05;
  step.waited = 0.02;  // a third of what it wanted
  step.others = 0.4;
  step.waited_for_disk = 0.07;
  EXPECT_THAT(machine.run(40, step), IsEmpty());
  Step hidden = usual;  // what it waits for a processor it would wait for the disk without that
  hidden.waited = 0.06;
  hidden.others = 0.45;
  hidden.waited_for_disk = 0.04;
  EXPECT_THAT(machine.run(40, hidden), IsEmpty());
}

TEST(Judge, finds_processors_that_others_have) {
  Scenario machine;
  machine.run(20);
  Step step = slower(1.8);
  step.waited = 0.2;
  step.ran = 0.3;
  step.others = 0.2;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::Starved));
  EXPECT_THAT(line(machine.last()),
              AllOf(HasSubstr("other programs had 40 % of the processors"), HasSubstr("40 % of its time"),
                    HasSubstr("1.8 times as long"), HasSubstr("fewer threads")));
  EXPECT_THAT(machine.run(20, step), IsEmpty()) << "said once";
  EXPECT_THAT(lost_line(machine.judge().losses()), HasSubstr("to others' use of the processors"));
}

TEST(Judge, finds_others_that_were_there_from_the_beginning) {
  Scenario machine;
  Step step;
  step.waited = 0.3;
  step.others = 0.25;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::Starved));
}

TEST(Judge, finds_a_hypervisor_that_has_the_processors) {
  Scenario machine;
  machine.run(20);
  Step step = slower(1.5);
  step.stolen = 0.15;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::Starved));
  EXPECT_THAT(machine.last().evidence, HasSubstr("30 %"));
}

TEST(Judge, finds_a_control_group_that_is_held_back) {
  Scenario machine;
  machine.run(20);
  Step step = slower(2);
  step.held_back = 0.12;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::Starved));
  EXPECT_THAT(machine.last().evidence, HasSubstr("control group"));
}

TEST(Judge, finds_a_processor_that_slowed_itself_down) {
  Scenario machine;
  machine.run(40);
  const Step step = slower(1.6);
  EXPECT_THAT(machine.run(kSoon, step, [](Sample& sample) { sample.processor.clock = 1.2e9; }),
              ElementsAre(Kind::Throttled));
  EXPECT_THAT(machine.last().evidence, AllOf(HasSubstr("60 °C"), HasSubstr("to 1200 MHz from")));

  Scenario counted;
  counted.run(20);
  Step hot = slower(1.4);
  hot.slowed = 0.1;
  EXPECT_THAT(counted.run(kSoon, hot), ElementsAre(Kind::Throttled));
}

TEST(Judge, says_nothing_of_clocks_that_fall_while_nothing_is_slower) {
  Scenario machine;
  machine.run(40);
  EXPECT_THAT(machine.run(40, Step{}, [](Sample& sample) { sample.processor.clock = 1.2e9; }), IsEmpty());
}

TEST(Judge, finds_a_card_that_slowed_itself_down) {
  Scenario machine;
  machine.run(20);
  Step step;
  step.gpu_seconds = 0.04;
  step.pass_seconds = 0.07;
  step.passes = 3;
  EXPECT_THAT(machine.run(kSoon, step,
                          [](Sample& sample) {
                            sample.gpus[1].slowed = true;
                            sample.gpus[1].temperature = 92;
                            sample.gpus[1].clock = 0.6e9;
                          }),
              ElementsAre(Kind::Throttled));
  EXPECT_THAT(machine.last().evidence,
              AllOf(HasSubstr("Card slowed itself down at 92 °C"), HasSubstr("600 of 1900 MHz")));
}

// A pass takes 0.2 s to compute, and as long to read 200 MB.
Promise streaming() {
  Promise promise = Scenario::usual_promise();
  promise.streamed = Bytes(200'000'000);
  return promise;
}

TEST(Judge, finds_a_disk_that_became_slow) {
  Scenario machine(streaming());
  Step step;
  step.passes = 1;
  step.predicted = step.pass_seconds = 0.2;
  machine.run(20, step);
  step.pass_seconds = 1;  // of which it waits for the disk 0.8
  step.waited_for_disk = 0.8;
  step.disk_reads = 100;
  step.disk_seconds = 4;
  EXPECT_THAT(machine.run(kSoon, step), ElementsAre(Kind::DiskSlow));
  EXPECT_THAT(machine.last().evidence, AllOf(HasSubstr("where the plan counts on 1.00 GB/s"), HasSubstr("40.0 ms")));
}

TEST(Judge, finds_it_in_the_middle_of_a_pass) {
  Scenario machine(streaming());
  Step step;
  step.passes = 1;
  step.predicted = step.pass_seconds = 0.2;
  machine.run(20, step);
  step.passes = 0;
  step.running_predicted = 0.2;
  step.disk_bytes = 2e6;
  step.disk_reads = 2;
  std::vector<Kind> found;
  for (int i = 1; i <= kSoon; ++i) {
    step.running = 0.25 * i;
    for (const Kind kind : machine.run(1, step)) found.push_back(kind);
  }
  EXPECT_THAT(found, ElementsAre(Kind::DiskSlow));
}

TEST(Judge, finds_a_disk_that_hardly_gives_anything_soon_after_passes_that_were_fast) {
  Scenario machine(streaming());
  Step step;
  step.passes = 1;
  step.predicted = step.pass_seconds = 0.2;
  step.waited_for_disk = 0.15;
  step.disk_bytes = 2e8;
  machine.run(20, step);
  step.passes = 0;
  step.disk_bytes = 8e6;
  std::vector<Kind> found;
  for (int i = 1; i <= kSoon; ++i) {
    step.running = 0.25 * i;
    for (const Kind kind : machine.run(1, step)) found.push_back(kind);
  }
  EXPECT_THAT(found, ElementsAre(Kind::DiskSlow));
}

TEST(Judge, says_that_it_does_not_know_where_nothing_explains_it) {
  Scenario machine;
  machine.run(20);
  EXPECT_THAT(machine.run(kSoon, slower(4)), ElementsAre(Kind::Mispredicted));
  EXPECT_THAT(line(machine.last()),
              AllOf(HasSubstr("nothing on the machine explains it"), HasSubstr("Measure this machine again")));
}

TEST(Judge, blames_a_known_cause_and_not_the_prediction) {
  Scenario machine;
  machine.run(20);
  Step step = slower(4);
  step.waited = 0.25;
  step.ran = 0.25;
  step.others = 0.25;
  EXPECT_THAT(machine.run(100, step), ElementsAre(Kind::Starved));
}

TEST(Judge, takes_a_verdict_back_when_it_is_over) {
  Scenario machine;
  machine.run(20);
  Step step = slower(1.8);
  step.waited = 0.2;
  step.others = 0.2;
  machine.run(20, step);
  EXPECT_THAT(machine.ended(), IsEmpty());
  machine.run(20);
  EXPECT_THAT(machine.ended(), ElementsAre(Kind::Starved));
  EXPECT_THAT(machine.judge().verdicts(), IsEmpty());
}

TEST(Judge, does_not_flutter) {
  Scenario machine;
  machine.run(20);
  Step bad = slower(1.8);
  bad.waited = 0.2;
  bad.others = 0.2;
  int began = 0;
  for (int i = 0; i < 50; ++i) {
    began += static_cast<int>(machine.run(4, bad).size());
    began += static_cast<int>(machine.run(4).size());
  }
  EXPECT_LE(began, 2);
}

TEST(Judge, counts_what_was_lost_from_the_first_slow_pass_on) {
  Scenario machine;
  machine.run(40);
  Step step = slower(2);
  step.passes = 2;
  step.waited = 0.25;
  step.others = 0.25;
  machine.run(40, step);
  // 39 samples of 0.25 s (what ends in the first may have begun before), then 40 of 0.2 s, half of which was lost.
  const Losses& losses = machine.judge().losses();
  EXPECT_NEAR(losses.passes, 17.75, 0.01);
  EXPECT_NEAR(losses.lost[static_cast<std::size_t>(Kind::Starved)], 4, 0.3);
  EXPECT_EQ(lost_line(losses).substr(0, 6), "lost 2");
}

}  // namespace
}  // namespace loadline::watch
