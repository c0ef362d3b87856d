// Random blocks: valid, of the spread that was asked for, and the same for the same seed.
#include "authoring/random_blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace loadline::authoring {
namespace {

class EveryFormat : public testing::TestWithParam<quant::Format> {};
INSTANTIATE_TEST_SUITE_P(Table, EveryFormat,
                         testing::ValuesIn(quant::all_formats().begin(), quant::all_formats().end()),
                         [](const auto& format) { return std::string(format.param.name); });

std::vector<std::byte> random_bytes(quant::TensorType type, float deviation, std::uint64_t seed, std::size_t elements) {
  std::vector<std::byte> bytes(quant::size_of(type, elements).value);
  RandomWords words(seed);
  fill_random_blocks(type, deviation, words, bytes);
  return bytes;
}

TEST_P(EveryFormat, HasTheSpreadAskedForAroundZero) {
  constexpr std::size_t kElements = 1 << 18;
  for (const float deviation : {1.0F, 1.0F / 64, 1.0F / 169}) {
    std::vector<float> values(kElements);
    quant::decode_row(GetParam().type, random_bytes(GetParam().type, deviation, 7, kElements).data(), values.data(),
                      kElements);
    double sum = 0;
    double squares = 0;
    for (const float value : values) {
      ASSERT_TRUE(std::isfinite(value));
      sum += value;
      squares += double{value} * value;
    }
    EXPECT_NEAR(std::sqrt(squares / kElements), deviation, 0.05 * deviation);
    EXPECT_NEAR(sum / kElements, 0, 0.01 * deviation);
  }
}

// Where the mean of every row were off in the same direction, activations would all grow in that direction.
TEST_P(EveryFormat, HasRowsWithoutACommonMean) {
  constexpr std::size_t kColumns = 4096;
  constexpr std::size_t kRows = 64;
  std::vector<float> values(kColumns * kRows);
  quant::decode_row(GetParam().type, random_bytes(GetParam().type, 1.0F, 3, values.size()).data(), values.data(),
                    values.size());
  double sum_of_means = 0;
  for (std::size_t row = 0; row < kRows; ++row) {
    double mean = 0;
    for (std::size_t c = 0; c < kColumns; ++c) mean += values[row * kColumns + c] / kColumns;
    sum_of_means += mean;
  }
  EXPECT_NEAR(sum_of_means / kRows, 0, 5 / std::sqrt(double{kColumns} * kRows / GetParam().block_elements));
}

TEST_P(EveryFormat, RepeatsItselfForASeedAndDiffersForAnother) {
  const auto bytes = random_bytes(GetParam().type, 0.1F, 1, 1024);
  EXPECT_EQ(bytes, random_bytes(GetParam().type, 0.1F, 1, 1024));
  EXPECT_NE(bytes, random_bytes(GetParam().type, 0.1F, 2, 1024));
}

}  // namespace
}  // namespace loadline::authoring
