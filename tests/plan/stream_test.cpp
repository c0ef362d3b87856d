// What is read from disk for every pass, and what stays in RAM.
#include "plan/stream.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "engine/backends.h"
#include "plan/machines.h"
#include "plan/models.h"
#include "plan/planner.h"
#include "plan/predict.h"

namespace loadline::plan {
namespace {

struct Planned {
  gguf::Model model = test::make_model(test::llama_3_8b(), test::q4_k_m(32));
  model::Program program = model::build_program(model);

  [[nodiscard]] Attempt attempt(Options options, double disk = 3e9) const {
    hardware::Profile profile = test::machine(16 * kGiB);
    profile.disk.read_bandwidth = disk;
    return try_plan(model, program, profile, options, engine::backends());
  }
};

TEST(Stream, EveryBudgetIsFilledAndNoneIsExceeded) {
  const Planned planned;
  Bytes before = 100 * kGiB;
  for (Bytes budget = 1200 * kMiB; budget < 5 * kGiB; budget += 61 * kMiB + 4096 * Bytes(7)) {
    Options options;
    options.ram_budget = budget;
    const Attempt found = planned.attempt(options);
    ASSERT_TRUE(found.fits) << to_string(budget);
    const Bytes taken = tier_total(found.plan, kCpu);
    EXPECT_LE(taken, budget);
    const Bytes streamed = streamed_bytes(found.plan);
    // What is left over is less than a matrix, or than what the rounding of arenas takes.
    if (streamed.value > 0) {
      EXPECT_LT(budget - taken, 36 * kMiB) << to_string(budget);
    }
    // More RAM never means more reading, but for what the choice of whole matrices costs.
    EXPECT_LT(streamed, before + 36 * kMiB) << to_string(budget);
    before = std::min(before, streamed);
  }
}

TEST(Stream, WhatTheDiskGaveIsSeenInPassesThatItBounds) {
  const Planned planned;
  Options options;
  options.ram_budget = 3 * kGiB;
  const Plan slow = planned.attempt(options, 1e9).plan;
  const Bytes read = streamed_bytes(slow) * 10;
  ASSERT_GT(read, 4 * kGiB);
  EXPECT_DOUBLE_EQ(observed_disk_bandwidth(slow, 10, 20).value_or(0), static_cast<double>(read.value) / 20);
  EXPECT_FALSE(observed_disk_bandwidth(slow, 1, 2)) << "too little to tell";
  EXPECT_FALSE(observed_disk_bandwidth(slow, 10, 0));
  EXPECT_FALSE(observed_disk_bandwidth(planned.attempt(options, 1e12).plan, 10, 20)) << "arithmetic is the slower part";
}

TEST(Stream, TheBufferOfDirectReadsIsSmallBesideWhatIsStreamed) {
  for (const auto& shape : {test::tiny(), test::llama_3_8b()}) {
    const gguf::Model model = test::make_model(shape, test::q4_k_m(shape.layers));
    std::vector<bool> all(model.tensors.size(), true);
    Bytes total;
    Bytes rows;  // 16 of the widest matrix
    for (const gguf::TensorInfo& tensor : model.tensors) {
      total += tensor.size;
      rows = std::max(rows, Bytes(tensor.size.value / tensor.rows() * std::min<std::uint64_t>(16, tensor.rows())));
    }
    const Bytes buffer = stream_buffer_bytes(model, all);
    EXPECT_LE(buffer, std::max(total / 8, (rows + 2 * Bytes(4096)) * kStreamParts) + kStreamParts * Bytes(4096));
    EXPECT_LE(buffer, kMiB * kStreamParts);
    EXPECT_GE(buffer, rows * kStreamParts);
  }
}

TEST(Stream, ASlowDiskMakesTheBatchLargerUnlessTheUserNamedIt) {
  const Planned planned;
  Options options;
  options.ram_budget = 3 * kGiB;
  const Attempt fast = planned.attempt(options, 20e9);
  ASSERT_TRUE(fast.fits);
  ASSERT_FALSE(fast.plan.stream.empty());
  EXPECT_EQ(fast.plan.shape.batch, 512U);

  const Attempt slow = planned.attempt(options, 0.2e9);
  ASSERT_TRUE(slow.fits);
  EXPECT_GT(slow.plan.shape.batch, 512U);
  options.batch_named = true;
  const Attempt named = planned.attempt(options, 0.2e9);
  EXPECT_EQ(named.plan.shape.batch, 512U);
  EXPECT_GT(slow.plan.prediction.prompt_rate, 1.3 * named.plan.prediction.prompt_rate);  // then arithmetic bounds it
  EXPECT_GT(slow.plan.prediction.generation_rate, 0.96 * named.plan.prediction.generation_rate);
}

}  // namespace
}  // namespace loadline::plan
