// What the scheduler learns of how long passes take, on machines that are no more than a formula.
#include "exec/pace.h"

#include <gtest/gtest.h>

#include <functional>

namespace loadline::exec {
namespace {

using Machine = std::function<double(std::uint32_t tokens)>;

constexpr double kBound = 0.5;  // s

plan::Prediction prediction(double generation_rate, double prompt_rate) {
  plan::Prediction prediction;
  prediction.generation_rate = generation_rate;
  prediction.prompt_rate = prompt_rate;
  return prediction;
}

// Passes as long as the bound allows, one after the other; the tokens of the last.
std::uint32_t tokens_after(Pace& pace, const Machine& machine, int passes, std::uint32_t most = 512) {
  std::uint32_t tokens = 0;
  for (int i = 0; i < passes; ++i) {
    tokens = pace.tokens_within(kBound, most);
    pace.learn(tokens, machine(tokens));
  }
  return tokens;
}

// Kernels for a few tokens, and others for more which unpack the weights first.
double two_kinds(std::uint32_t tokens) { return tokens <= 4 ? 0.15 + 0.06 * tokens : 0.15 + 0.025 * tokens; }

TEST(Pace, BeginsWithWhatWasPredicted) {
  const Pace pace(prediction(5, 20));
  EXPECT_EQ(pace.tokens_within(kBound, 512), 10U);
  EXPECT_EQ(pace.tokens_within(kBound, 6), 6U);
  EXPECT_DOUBLE_EQ(pace.seconds(1), 0.2);
  EXPECT_DOUBLE_EQ(pace.seconds(100), 5);
}

TEST(Pace, IsNeverNothing) {
  EXPECT_EQ(Pace(prediction(0.1, 0.2)).tokens_within(kBound, 512), 2U) << "as many as cost no more than one";
  EXPECT_EQ(Pace(prediction(0, 0)).tokens_within(kBound, 512), 512U);
}

TEST(Pace, FindsHowMuchFits) {
  Pace pace(prediction(5, 20));
  const std::uint32_t tokens = tokens_after(pace, two_kinds, 100);
  EXPECT_LE(two_kinds(tokens), 1.1 * kBound);
  EXPECT_GE(tokens, 10U) << "14 take the half second";
}

TEST(Pace, WhatWasLearnedOfLongPassesSaysLittleOfShortOnes) {
  Pace pace(prediction(5, 20));
  for (int i = 0; i < 20; ++i) pace.learn(2, 0.21);
  for (int i = 0; i < 20; ++i) pace.learn(512, 80);  // another program took the processors while a prompt was read
  EXPECT_NEAR(pace.seconds(2), 0.21, 1e-9);
  EXPECT_GE(tokens_after(pace, two_kinds, 200), 8U);
}

TEST(Pace, RecoversWhenTheMachineDoes) {
  Pace pace(prediction(5, 20));
  const std::uint32_t before = tokens_after(pace, two_kinds, 100);
  const std::uint32_t meanwhile = tokens_after(pace, [](std::uint32_t n) { return 8 * two_kinds(n); }, 50);
  EXPECT_LE(meanwhile, 4U);
  EXPECT_GE(tokens_after(pace, two_kinds, 500), before * 3 / 4);
}

}  // namespace
}  // namespace loadline::exec
