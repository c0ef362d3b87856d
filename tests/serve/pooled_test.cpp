// A text's vector from the states of its tokens.
#include "serve/pooled.h"

#include <gtest/gtest.h>

#include <cmath>

namespace loadline::serve {
namespace {

const std::vector<std::vector<float>> kStates = {{1, 2}, {3, -4}, {5, 8}};

std::vector<std::vector<float>> pooled(Pooling pooling) {
  Pooled pooled(pooling, kStates.size(), 2);
  for (std::size_t i = 0; i < kStates.size(); ++i) {
    if (pooling != Pooling::Last || i + 1 == kStates.size()) pooled.add(i, kStates[i]);
  }
  return pooled.take();
}

TEST(Pooled, TheLastTheMeanAndAll) {
  using Vectors = std::vector<std::vector<float>>;
  EXPECT_EQ(pooled(Pooling::Last), (Vectors{{5, 8}}));
  EXPECT_EQ(pooled(Pooling::Mean), (Vectors{{3, 2}}));
  EXPECT_EQ(pooled(Pooling::None), kStates);
}

TEST(Pooled, WhatIsToldOnceMoreCountsOnce) {
  Pooled pooled(Pooling::Mean, 2, 1);
  for (const std::size_t index : {0U, 0U, 1U, 0U, 1U}) pooled.add(index, std::vector<float>{index == 0 ? 2.0F : 4.0F});
  EXPECT_EQ(pooled.take()[0][0], 3);
}

TEST(Normalise, ByEachOfLlamaCppsNorms) {
  const auto by = [](int norm) {
    std::vector<float> vector = {3, -4};
    normalise(vector, norm);
    return vector;
  };
  EXPECT_EQ(by(-1), (std::vector<float>{3, -4}));
  EXPECT_EQ(by(0), (std::vector<float>{3.0F / 4 * 32760, -32760}));
  EXPECT_FLOAT_EQ(by(1)[0], 3.0F / 7);
  EXPECT_FLOAT_EQ(by(2)[1], -0.8F);
  EXPECT_FLOAT_EQ(by(3)[0], 3 / std::cbrt(91.0F));
}

TEST(Normalise, NothingStaysNothing) {
  std::vector<float> vector = {0, 0};
  normalise(vector, 2);
  EXPECT_EQ(vector, (std::vector<float>{0, 0}));
}

}  // namespace
}  // namespace loadline::serve
