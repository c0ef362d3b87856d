// What must hold for every format that is written and every finite input.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "quant/format.h"
#include "quant/search.h"

namespace loadline::quant {

// Found by GoogleTest when it names a parameter.
static void PrintTo(const Format& format, std::ostream* out) { *out << format.name; }

namespace {

// The smallest length that is whole blocks in every format.
constexpr std::size_t kLength = 256;

std::vector<std::byte> encode(const Format& format, const std::vector<float>& values) {
  std::vector<std::byte> bytes(size_of(format.type, values.size()).value);
  encode_row(format.type, values.data(), bytes.data(), values.size());
  return bytes;
}

std::vector<float> decode(const Format& format, const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / format.block_bytes * format.block_elements);
  decode_row(format.type, bytes.data(), values.data(), values.size());
  return values;
}

std::vector<float> round_trip(const Format& format, const std::vector<float>& values) {
  return decode(format, encode(format, values));
}

float peak_of(const std::vector<float>& values) {
  float peak = 0.0F;
  for (const float value : values) peak = std::max(peak, std::fabs(value));
  return peak;
}

// Random values of one of several characters: even, mostly zero, one outlier, all of one sign, few distinct.
rc::Gen<std::vector<float>> any_values(int lowest_exponent, int highest_exponent) {
  return rc::gen::exec([=] {
    const int character = *rc::gen::inRange(0, 5);
    const float scale = std::ldexp(1.0F, *rc::gen::inRange(lowest_exponent, highest_exponent + 1));
    auto values = *rc::gen::container<std::vector<float>>(
        kLength,
        rc::gen::map(rc::gen::inRange(-1000000, 1000001), [](int n) { return static_cast<float>(n) * 1e-6F; }));
    for (std::size_t i = 0; i < kLength; ++i) {
      float& value = values[i];
      if (character == 1 && i % 7 != 0) value = 0.0F;
      if (character == 2 && i != 100) value *= 0.01F;
      if (character == 3) value = -std::fabs(value);
      if (character == 4) value = std::round(value * 2.0F) * 0.5F;
      value *= scale;
    }
    return values;
  });
}

class EveryFormat : public testing::TestWithParam<Format> {};
std::vector<Format> written_formats() {
  std::vector<Format> formats(all_formats().begin(), all_formats().end());
  std::erase_if(formats, [](const Format& format) { return format.encode == nullptr; });
  return formats;
}
INSTANTIATE_TEST_SUITE_P(Table, EveryFormat, testing::ValuesIn(written_formats()),
                         [](const auto& format) { return std::string(format.param.name); });

TEST_P(EveryFormat, KeepsZeros) {
  for (const float value : round_trip(GetParam(), std::vector<float>(kLength, 0.0F))) EXPECT_EQ(value, 0.0F);
}

TEST_P(EveryFormat, KeepsFiniteValuesFinite) {
  const Format& format = GetParam();
  const float highest = format.type == TensorType::F16 ? 65504.0F : 3e38F;  // beyond, F16 means infinity
  for (const float scale : {highest, 1e30F, 1e10F, 70000.0F, 1.0F, 1e-5F, 6e-8F, 1e-10F, 1e-30F, 1e-40F, 1.5e-45F}) {
    std::vector<float> values(kLength);
    for (std::size_t i = 0; i < kLength; ++i) {
      values[i] = std::min(scale, highest) * (static_cast<float>(static_cast<int>(i * 37 % 201) - 100) / 100.0F);
    }
    for (const bool zero_group : {false, true}) {
      if (zero_group) std::fill(values.begin(), values.begin() + 64, 0.0F);
      for (const float value : round_trip(format, values)) ASSERT_TRUE(std::isfinite(value)) << "scale " << scale;
    }
  }
}

TEST_P(EveryFormat, SurvivesGroupsOfVeryDifferentScale) {
  if (GetParam().type == TensorType::Q1_0) GTEST_SKIP() << "one magnitude for 128 values";
  std::vector<float> values(kLength);
  for (std::size_t i = 0; i < kLength; ++i) {
    values[i] = std::ldexp(i % 2 == 0 ? 1.0F : -0.7F, -static_cast<int>(i / 16) * 9);  // down to 2^-135
  }
  const auto decoded = round_trip(GetParam(), values);
  for (std::size_t i = 0; i < kLength; ++i) ASSERT_TRUE(std::isfinite(decoded[i]));
  EXPECT_NEAR(decoded[0], 1.0F, 0.35F);
}

// Largest error of any value as a share of the largest magnitude in its block: the coarsest step a format can be forced
// to, plus the value that clips because the levels are not symmetric.
double worst_share(TensorType type) {
  switch (type) {
    case TensorType::F32: return 0;
    case TensorType::F16: return 0x1p-11;
    case TensorType::BF16: return 0x1p-8;
    case TensorType::Q4_0: return 0.126;
    case TensorType::Q4_1: return 0.068;
    case TensorType::Q5_0: return 0.063;
    case TensorType::Q5_1: return 0.033;
    case TensorType::Q8_0: return 0.0041;
    case TensorType::Q2_K: return 0.60;
    case TensorType::Q3_K: return 0.35;
    case TensorType::Q4_K: return 0.16;
    case TensorType::Q5_K: return 0.08;
    case TensorType::Q6_K: return 0.04;
    case TensorType::IQ4_NL: return 0.22;
    case TensorType::IQ4_XS: return 0.23;
    case TensorType::IQ3_S: return 0.45;
    case TensorType::MXFP4: return 0.40;
    case TensorType::NVFP4: return 0.35;
    case TensorType::TQ1_0:
    case TensorType::TQ2_0:
    case TensorType::Q2_0: return 0.51;
    case TensorType::Q1_0: return 1.0;
    default: ADD_FAILURE() << "no bound for " << name_of(type);
  }
  return 0;
}

TEST_P(EveryFormat, IsNeverFarFromTheValue) {
  const Format format = GetParam();
  // A sixth of the largest magnitude is NVFP4's scale, which loses digits below 2^-6 (E4M3).
  const int least = format.type == TensorType::NVFP4 ? -3 : -6;
  EXPECT_TRUE(rc::check("largest error is a bounded share of the largest magnitude", [&format, least] {
    const std::vector<float> values = *any_values(least, 8);
    const auto decoded = round_trip(format, values);
    const float peak = peak_of(values);
    for (std::size_t i = 0; i < kLength; ++i) {
      RC_ASSERT(std::fabs(decoded[i] - values[i]) <= worst_share(format.type) * peak);
    }
  }));
}

TEST_P(EveryFormat, EncodesEachBlockByItself) {
  const Format format = GetParam();
  EXPECT_TRUE(rc::check("blocks together are the blocks alone", [&format] {
    std::vector<float> values = *any_values(-6, 8);
    const std::vector<float> second = *any_values(-30, 20);
    values.insert(values.end(), second.begin(), second.end());
    const auto together = encode(format, values);
    for (std::size_t start = 0; start < values.size(); start += format.block_elements) {
      const std::vector<float> block(values.begin() + static_cast<std::ptrdiff_t>(start),
                                     values.begin() + static_cast<std::ptrdiff_t>(start + format.block_elements));
      const auto alone = encode(format, block);
      const auto* place = together.data() + start / format.block_elements * format.block_bytes;
      RC_ASSERT(std::equal(alone.begin(), alone.end(), place));
    }
  }));
}

// For the K and IQ4 formats a second search may find other scales; but it must not walk away.
TEST_P(EveryFormat, IsStableWhenEncodedAgain) {
  const Format format = GetParam();
  EXPECT_TRUE(rc::check("encoding a decoded block again changes nothing, or next to nothing", [&format] {
    const std::vector<float> values = *any_values(2, 12);  // no scale is subnormal
    const auto once = round_trip(format, values);
    const auto twice = round_trip(format, once);
    const bool ternary = format.type == TensorType::TQ1_0 || format.type == TensorType::TQ2_0;
    const bool searched = (format.block_elements == kLength && !ternary) || format.type == TensorType::IQ4_NL ||
                          format.type == TensorType::NVFP4;
    const double tolerance = searched ? 0.5 * worst_share(format.type) * peak_of(values) : 0.0;
    for (std::size_t i = 0; i < kLength; ++i) RC_ASSERT(std::fabs(twice[i] - once[i]) <= tolerance);
  }));
}

// A group of one repeated value determines no scale; a large one would take resolution from the groups beside it.
TEST(FitAffine, GivesAConstantGroupNoMoreScaleThanItNeeds) {
  for (int n = 1; n <= 1000; ++n) {
    const std::vector<float> values(n % 2 == 0 ? 16 : 32, 0.001937F * static_cast<float>(n));
    const Weights weights = weights_by_magnitude(values);
    for (const int highest : {3, 15, 31}) {
      const AffineFit fit =
          fit_affine(values, weights, {.highest = highest, .steps = 20, .first = -1.0F, .step = 0.1F});
      EXPECT_LE(fit.scale * static_cast<float>(highest), 2.0F * values[0]) << n << " with levels to " << highest;
      EXPECT_NEAR(fit.scale * std::round(values[0] / fit.scale) - fit.minimum, values[0], 1e-5F * values[0]);
    }
  }
}

}  // namespace
}  // namespace loadline::quant
