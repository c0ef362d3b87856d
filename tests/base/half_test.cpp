#include "base/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace loadline {
namespace {

std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

// The value by its definition: (-1)^s * 2^(e - bias) * 1.m, or * 0.m for subnormals.
double defined_value(unsigned bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const auto mantissa = static_cast<double>(bits & ((1U << mantissa_bits) - 1U));
  const double sign = (bits >> (exponent_bits + mantissa_bits)) != 0 ? -1.0 : 1.0;
  const double one = std::ldexp(1.0, mantissa_bits);
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(one + mantissa, exponent - bias - mantissa_bits);
}

bool half_is_nan(unsigned bits) { return (bits & 0x7FFFU) > 0x7C00U; }

TEST(Half, EveryPatternHasTheValueOfItsDefinition) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = half_to_float(static_cast<std::uint16_t>(bits));
    if (half_is_nan(bits)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else if ((bits & 0x7FFFU) == 0x7C00U) {
      EXPECT_EQ(value, bits == 0x7C00U ? INFINITY : -INFINITY);
    } else {
      ASSERT_EQ(value, defined_value(bits, 5, 10)) << bits;
      ASSERT_EQ(std::signbit(value), bits >= 0x8000U) << bits;
    }
  }
}

TEST(Half, EveryPatternSurvivesTheWayToFloatAndBack) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const std::uint16_t back = float_to_half(half_to_float(static_cast<std::uint16_t>(bits)));
    if (half_is_nan(bits)) {
      EXPECT_TRUE(half_is_nan(back)) << bits;
      EXPECT_EQ(back & 0x8000U, bits & 0x8000U) << bits;
    } else {
      ASSERT_EQ(back, bits);
    }
  }
}

// Between two neighbours only the middle decides: below it the lower one, above it the upper one, on it the even one.
// Rounding is monotone, so with this at every gap, every float is rounded right.
TEST(Half, RoundsToTheNearestAndTiesToEvenAtEveryGap) {
  for (unsigned low = 0; low < 0x7C00U; ++low) {
    const unsigned high = low + 1;
    const float a = half_to_float(static_cast<std::uint16_t>(low));
    // Above the largest half lies infinity, which rounding treats as 2^16.
    const float b = high == 0x7C00U ? 65536.0F : half_to_float(static_cast<std::uint16_t>(high));
    const float middle = a + (b - a) / 2;
    const unsigned even = (low & 1U) == 0 ? low : high;
    for (const unsigned sign : {0U, 0x8000U}) {
      const float s = sign == 0 ? 1.0F : -1.0F;
      ASSERT_EQ(float_to_half(s * middle), sign | even) << low;
      ASSERT_EQ(float_to_half(s * std::nextafter(middle, 0.0F)), sign | low) << low;
      ASSERT_EQ(float_to_half(s * std::nextafter(middle, INFINITY)), sign | high) << low;
    }
  }
}

TEST(Half, LargeValuesBecomeInfinityAndTinyOnesZero) {
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::max()), 0x7C00U);
  EXPECT_EQ(float_to_half(-INFINITY), 0xFC00U);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::denorm_min()), 0U);
  EXPECT_EQ(float_to_half(-std::numeric_limits<float>::min()), 0x8000U);
}

TEST(Bfloat16, EveryPatternIsTheUpperHalfOfAFloat) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = bfloat16_to_float(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(bits_of(value), bits << 16);
    const std::uint16_t back = float_to_bfloat16(value);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bfloat16_to_float(back))) << bits;
    } else {
      ASSERT_EQ(back, bits);
    }
  }
}

TEST(Bfloat16, RoundsToTheNearestAndTiesToEvenAtEveryGap) {
  for (std::uint32_t low = 0; low < 0x7F80U; ++low) {
    const std::uint32_t even = (low & 1U) == 0 ? low : low + 1;
    for (const std::uint32_t sign : {0U, 0x8000U}) {
      const auto rounded = [&](std::uint32_t rest) {
        return float_to_bfloat16(std::bit_cast<float>((sign | low) << 16 | rest));
      };
      ASSERT_EQ(rounded(0x7FFFU), sign | low);
      ASSERT_EQ(rounded(0x8000U), sign | even);
      ASSERT_EQ(rounded(0x8001U), sign | (low + 1));
    }
  }
}

TEST(Bfloat16, NoNanBecomesInfinity) {
  for (const std::uint32_t bits : {0x7F800001U, 0xFF800001U, 0x7FFFFFFFU, 0xFFFFFFFFU, 0x7F808000U}) {
    EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(bits))))) << bits;
  }
}

#ifdef __FLT16_MAX__
TEST(Half, AgreesWithTheCompilersOwnTypeOverAllExponents) {
  // Every 2503rd float: a prime, so that all exponents and many mantissas come up, 1.7 million values.
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 2503) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(float_to_half(value), std::bit_cast<std::uint16_t>(static_cast<_Float16>(value))) << bits;
  }
  for (unsigned bits = 0; bits < 65536; ++bits) {
    if (half_is_nan(bits)) continue;
    const auto half = static_cast<std::uint16_t>(bits);
    ASSERT_EQ(bits_of(half_to_float(half)), bits_of(static_cast<float>(std::bit_cast<_Float16>(half)))) << bits;
  }
}
#endif

}  // namespace
}  // namespace loadline
