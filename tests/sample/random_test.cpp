#include "sample/random.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "sample/exponential.h"

namespace loadline::sample {
namespace {

TEST(Random, GivesThePublishedSequenceOfXoshiro256PlusPlus) {
  // The first outputs from the state 1, 2, 3, 4, as other implementations of the generator test themselves with.
  Random random(std::array<std::uint64_t, 4>{1, 2, 3, 4});
  for (const std::uint64_t expected : {41943041U, 58720359U}) EXPECT_EQ(random.next(), expected);
  for (const std::uint64_t expected :
       {3588806011781223U, 3591011842654386U, 9228616714210784205U, 9973669472204895162U, 14011001112246962877U,
        12406186145184390807U, 15849039046786891736U, 10450023813501588000U}) {
    EXPECT_EQ(random.next(), expected);
  }
}

TEST(Random, FillsItsStateFromTheSeedBySplitmix64) {
  // splitmix64's published outputs for the seed 1234567.
  Random seeded(1234567);
  Random filled(std::array<std::uint64_t, 4>{6457827717110365317U, 3203168211198807973U, 9817491932198370423U,
                                             4593380528125082431U});
  for (int i = 0; i < 100; ++i) ASSERT_EQ(seeded.next(), filled.next());
}

TEST(Random, UniformNumbersAreBelowOneAndSpreadEvenly) {
  Random random(1);
  constexpr int kDraws = 100'000;
  std::array<int, 10> tenths{};
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    ++tenths[static_cast<std::size_t>(value * 10)];
  }
  // Five standard deviations of a binomial count.
  for (const int count : tenths) EXPECT_NEAR(count, kDraws / 10, 5 * std::sqrt(kDraws * 0.09));
}

TEST(Exponential, IsWithinTwoUnitsOfTheLastPlace) {
  Random random(2);
  for (int i = 0; i < 200'000; ++i) {
    const double x = i % 2 == 0 ? -random.uniform() * 708 : -random.uniform();
    const double truth = static_cast<double>(std::exp(static_cast<long double>(x)));
    const double unit = std::nextafter(truth, 2.0) - truth;
    ASSERT_LE(std::abs(exponential(x) - truth), 2 * unit) << x;
  }
}

TEST(Exponential, HandlesTheEndsOfItsRange) {
  EXPECT_EQ(exponential(0.0), 1.0);
  EXPECT_EQ(exponential(-0.0), 1.0);
  EXPECT_EQ(exponential(-709.0), 0.0);
  EXPECT_EQ(exponential(-INFINITY), 0.0);
  EXPECT_EQ(exponential(NAN), 0.0);
}

}  // namespace
}  // namespace loadline::sample
