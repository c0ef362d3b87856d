// An hour of ordinary use of every kind: nothing is said of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "watch/scenario.h"

namespace loadline::watch {
namespace {

using test::Scenario;
using testing::IsEmpty;
using Step = Scenario::Step;

constexpr int kHour = 4 * 3600;  // samples

// `next` makes each sample's step, and may change the sample.
void expect_nothing(const char* what, const std::function<Step(int, std::mt19937&)>& next,
                    const std::function<void(int, Sample&)>& change = {}) {
  for (std::uint32_t seed = 1; seed <= 3; ++seed) {
    Scenario machine;
    std::mt19937 random(seed);
    for (int i = 0; i < kHour; ++i) {
      const auto began = machine.run(1, next(i, random), [&](Sample& sample) {
        if (change) change(i, sample);
      });
      ASSERT_THAT(began, IsEmpty()) << what << ", sample " << i << ", seed " << seed << ": " << line(machine.last());
    }
  }
}

double between(std::mt19937& random, double least, double most) {
  return std::uniform_real_distribution<double>(least, most)(random);
}

// Passes that take so much longer than they should.
Step taking(double times) {
  Step step;
  step.pass_seconds *= times;
  step.gpu_seconds *= times;
  return step;
}

TEST(OrdinaryHour, passes_that_vary) {
  expect_nothing("passes that vary", [](int, std::mt19937& random) { return taking(between(random, 0.9, 1.12)); });
}

TEST(OrdinaryHour, now_and_then_a_slow_pass) {
  expect_nothing("a slow pass now and then",
                 [](int i, std::mt19937& random) { return taking(i % 97 == 0 ? 5 : between(random, 0.95, 1.05)); });
}

TEST(OrdinaryHour, a_busy_machine_with_processors_enough) {
  expect_nothing("others use what is left", [](int, std::mt19937& random) {
    Step step = taking(between(random, 0.97, 1.08));
    step.ran = 0.25;
    step.others = between(random, 0.05, 0.24);
    step.waited = between(random, 0, 0.02);
    return step;
  });
}

TEST(OrdinaryHour, answers_with_prompts_and_silence_between_them) {
  expect_nothing("answers, prompts and silence", [](int i, std::mt19937& random) {
    Step step = taking(between(random, 0.95, 1.1));
    const int at = i % 80;
    if (at < 12) {  // a prompt: few long passes of many tokens, of another accuracy than the short ones
      step.passes = at % 4 == 3 ? 1 : 0;
      step.tokens = 512;
      step.pass_seconds = step.predicted = 0.9;
      step.pass_seconds *= between(random, 1.1, 1.35);
      step.gpu_seconds = step.gpu_predicted = 0.3;
      step.running = step.passes == 0 ? 0.25 * (at % 4 + 1) : 0;
      step.running_predicted = 0.9;
    } else if (at >= 60) {
      step = {};
      step.passes = 0;
      step.ran = 0.002;
      step.others = between(random, 0, 0.4);
      step.waited = between(random, 0, 0.004);
    }
    return step;
  });
}

TEST(OrdinaryHour, a_context_that_grows_and_costs_somewhat_more_than_predicted) {
  expect_nothing("a long context", [](int i, std::mt19937& random) {
    Step step;
    const double depth = static_cast<double>(i % 7200) / 7200;
    step.predicted = 0.05 * (1 + depth);
    step.pass_seconds = 0.05 * (1 + 1.25 * depth) * between(random, 0.96, 1.05);
    step.passes = static_cast<std::uint64_t>(0.25 / step.pass_seconds);
    return step;
  });
}

TEST(OrdinaryHour, predictions_that_are_off_by_half) {
  expect_nothing("predictions that are off", [](int, std::mt19937& random) {
    Step step = taking(between(random, 0.95, 1.06));
    step.predicted = 0.033;
    step.gpu_predicted = 0.013;
    return step;
  });
}

TEST(OrdinaryHour, clocks_temperatures_and_memory_that_move_without_harm) {
  expect_nothing(
      "clocks, temperatures, others' memory",
      [](int, std::mt19937& random) { return taking(between(random, 0.96, 1.06)); },
      [](int i, Sample& sample) {
        const double wave = std::sin(i / 200.0);
        sample.processor.clock = 2.6e9 + 0.6e9 * wave;
        sample.processor.temperature = 80 + 14 * wave;
        sample.gpus[1].temperature = 78 + 8 * wave;
        sample.gpus[1].used = 3 * kGiB + Bytes(static_cast<std::uint64_t>(1e9 * (1 + wave)));
        sample.gpus[1].moved = 120 * kMiB + Bytes(static_cast<std::uint64_t>(20e6 * (1 + wave)));
        sample.machine.available = 4 * kGiB + Bytes(static_cast<std::uint64_t>(1.5e9 * (1 + wave)));
        sample.group.used = 3 * kGiB + Bytes(static_cast<std::uint64_t>(0.5e9 * (1 + wave)));
      });
}

TEST(OrdinaryHour, pages_of_code_that_come_back_now_and_then) {
  expect_nothing("pages that come back", [](int i, std::mt19937& random) {
    Step step = taking(between(random, 0.96, 1.06));
    step.faults = i % 40 == 0 ? 12 : 0;
    step.memory_stalled = i % 40 == 0 ? 0.01 : 0;
    return step;
  });
}

TEST(OrdinaryHour, a_laptop_that_is_closed_and_opened) {
  expect_nothing("sleep", [](int i, std::mt19937& random) {
    Step step = taking(between(random, 0.96, 1.06));
    if (i % 1200 == 1199) {
      step.slept = 1800;
      step = taking(4);
      step.slept = 1800;
      step.faults = 900;
      step.others = 0.4;
      step.waited = 0.3;
    }
    return step;
  });
}

TEST(OrdinaryHour, more_threads_than_processors) {
  expect_nothing("threads that wait for each other", [](int, std::mt19937& random) {
    Step step = taking(between(random, 0.95, 1.08));
    step.waited = between(random, 0.2, 0.6);
    step.others = between(random, 0, 0.015);
    return step;
  });
}

}  // namespace
}  // namespace loadline::watch
