#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace loadline::model {
namespace {

RopeConfig plain() {
  RopeConfig rope;
  rope.dimensions = 8;
  rope.base = 10000.0F;
  return rope;
}

TEST(Rope, FrequenciesFallGeometricallyFromOne) {
  const auto frequencies = rope_frequencies(plain(), {});
  ASSERT_EQ(frequencies.size(), 4U);
  EXPECT_FLOAT_EQ(frequencies[0], 1.0F);
  EXPECT_FLOAT_EQ(frequencies[1], 0.1F);
  EXPECT_FLOAT_EQ(frequencies[3], 0.001F);
}

TEST(Rope, LinearScalingDividesEveryFrequency) {
  RopeConfig rope = plain();
  rope.scaling = RopeConfig::Scaling::Linear;
  rope.factor = 4.0F;
  EXPECT_FLOAT_EQ(rope_frequencies(rope, {})[1], 0.025F);
}

TEST(Rope, FactorsOfTheModelDivideTheFrequencies) {
  const std::vector<float> factors = {1.0F, 2.0F, 4.0F, 8.0F};
  const auto frequencies = rope_frequencies(plain(), factors);
  EXPECT_FLOAT_EQ(frequencies[1], 0.05F);
  EXPECT_FLOAT_EQ(frequencies[3], 0.000125F);
}

TEST(Rope, YarnKeepsFastPairsAndInterpolatesSlowOnes) {
  RopeConfig rope;
  rope.dimensions = 128;
  rope.base = 10000.0F;
  rope.scaling = RopeConfig::Scaling::Yarn;
  rope.factor = 8.0F;
  rope.original_context = 4096;
  const auto scaled = rope_frequencies(rope, {});
  rope.scaling = RopeConfig::Scaling::None;
  const auto original = rope_frequencies(rope, {});
  EXPECT_FLOAT_EQ(scaled.front(), original.front());
  EXPECT_FLOAT_EQ(scaled.back(), original.back() / 8.0F);
  for (std::size_t i = 0; i < scaled.size(); ++i) {
    EXPECT_LE(scaled[i], original[i] * 1.000001F);
    EXPECT_GE(scaled[i], original[i] / 8.0F * 0.999999F);
  }
  // Pair 32 turns 4096 * 0.01 / 2 pi = 6.5 times: between beta_slow and beta_fast, so in the ramp.
  EXPECT_LT(scaled[32], original[32]);
  EXPECT_GT(scaled[32], original[32] / 8.0F);
}

TEST(Rope, TheTableIsTheAngleTimesTheMagnitude) {
  RopeConfig rope = plain();
  rope.magnitude = 2.0F;
  const auto frequencies = rope_frequencies(rope, {});
  float cosines[4];
  float sines[4];
  rope_table(rope, frequencies, 3, cosines, sines);
  EXPECT_NEAR(cosines[1], 2.0 * std::cos(0.3), 1e-6);
  EXPECT_NEAR(sines[0], 2.0 * std::sin(3.0), 1e-6);
}

}  // namespace
}  // namespace loadline::model
