#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/kernel_cases.h"

namespace loadline::cpu::test {
namespace {

class Vectors : public testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table_ = *GetParam();
};

INSTANTIATE_TEST_SUITE_P(Kernels, Vectors, testing::ValuesIn(tables()),
                         [](const auto& row) { return std::string(row.param->name); });

constexpr Style kStyles[] = {Style::Normal, Style::Extreme, Style::Zero, Style::Denormal, Style::Constant};

TEST_P(Vectors, prepared_activations_are_the_same_bytes_for_every_set) {
  Random random(1);
  const KernelTable& scalar = *available_kernels().front();
  for (const Style style : kStyles) {
    for (const std::uint32_t columns : {1U, 31U, 32U, 256U, 257U, 1000U}) {
      for (const std::uint32_t tokens : {1U, 5U, 16U, 37U}) {
        const std::vector<float> x = random_activations(tokens, columns, style, random);
        for (const TensorType type : {TensorType::Q4_0, TensorType::F32}) {
          const Buffer expected = prepared(scalar, type, x, tokens, columns);
          const Buffer got = prepared(table_, type, x, tokens, columns);
          const std::size_t bytes = quant::activation_bytes(quant::activation_kind(type), columns, tokens).value;
          EXPECT_EQ(std::memcmp(expected.data(), got.data(), bytes), 0)
              << name_of(style) << ", " << tokens << " tokens of " << columns << " for " << quant::name_of(type);
        }
      }
    }
  }
}

TEST_P(Vectors, prepared_bytes_stand_for_the_activations) {
  Random random(2);
  for (const std::uint32_t columns : {32U, 256U, 1000U}) {
    const std::vector<float> x = random_activations(19, columns, Style::Normal, random);
    const Buffer activations = prepared(table_, TensorType::Q8_0, x, 19, columns);
    const std::vector<float> seen = restored(ActivationKind::Int8, activations, 19, columns);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t token = i / columns;
      const std::size_t first = token * columns + i % columns / 256 * 256;
      const std::size_t last = std::min(first + 256, (token + 1) * columns);
      float largest = 0;
      for (std::size_t j = first; j < last; ++j) largest = std::max(largest, std::fabs(x[j]));
      ASSERT_NEAR(seen[i], x[i], largest / 127 * 0.5001);
    }
  }
}

TEST_P(Vectors, preparing_in_parts_gives_the_same_bytes) {
  Random random(3);
  const std::vector<float> x = random_activations(37, 300, Style::Normal, random);
  for (const ActivationKind kind : {ActivationKind::Int8, ActivationKind::Float32}) {
    const std::size_t bytes = quant::activation_bytes(kind, 300, 37).value;
    Buffer whole(bytes);
    Buffer parts(bytes);
    table_.prepare(kind, x.data(), 300, 300, 0, 37, 37, whole.data());
    table_.prepare(kind, x.data(), 300, 300, 32, 37, 37, parts.data());
    table_.prepare(kind, x.data(), 300, 300, 0, 16, 37, parts.data());
    table_.prepare(kind, x.data(), 300, 300, 16, 32, 37, parts.data());
    EXPECT_EQ(std::memcmp(whole.data(), parts.data(), 37 * bytes / 37 / 64 * 64), 0);
  }
}

TEST_P(Vectors, rms_norm_agrees_with_double_arithmetic) {
  Random random(4);
  for (const Style style : {Style::Normal, Style::Zero, Style::Denormal, Style::Constant}) {
    for (const std::uint32_t columns : {1U, 15U, 64U, 100U, 4096U}) {
      std::vector<float> x = random_activations(1, columns, style, random);
      const std::vector<float> weight = random_activations(1, columns, Style::Normal, random);
      double squares = 0;
      for (const float value : x) squares += double{value} * value;
      const double factor = 1 / std::sqrt(squares / columns + 1e-6);
      constexpr float kUntouched = -777.0F;
      std::vector<float> out(columns, kUntouched);
      const std::uint32_t middle = columns / 2 / 16 * 16;
      table_.rms_norm(x.data(), weight.data(), out.data(), columns, middle, columns, 1e-6F);
      for (std::uint32_t c = 0; c < middle; ++c) ASSERT_EQ(out[c], kUntouched);
      table_.rms_norm(x.data(), weight.data(), out.data(), columns, 0, middle, 1e-6F);
      for (std::uint32_t c = 0; c < columns; ++c) {
        const double expected = x[c] * factor * weight[c];
        ASSERT_NEAR(out[c], expected, 2e-6 * std::fabs(expected) + 1e-38) << columns << " columns, " << name_of(style);
      }
      table_.rms_norm(x.data(), weight.data(), x.data(), columns, 0, columns, 1e-6F);
      EXPECT_EQ(x, out) << "in place";
    }
  }
}

TEST_P(Vectors, rope_rotates_pairs_and_leaves_the_rest) {
  Random random(5);
  for (const bool neox : {false, true}) {
    for (const auto& [head_dim, rotary] :
         {std::pair{64U, 64U}, std::pair{128U, 128U}, std::pair{80U, 20U}, std::pair{6U, 2U}, std::pair{96U, 50U}}) {
      const std::vector<float> x = random_activations(3, head_dim, Style::Normal, random);
      std::vector<float> cosines(rotary / 2);
      std::vector<float> sines(rotary / 2);
      for (std::uint32_t i = 0; i < rotary / 2; ++i) {
        const float angle = std::normal_distribution<float>()(random);
        cosines[i] = std::cos(angle);
        sines[i] = std::sin(angle);
      }
      std::vector<float> out = x;
      table_.rope(out.data(), 3, head_dim, rotary, cosines.data(), sines.data(), neox);
      for (std::uint32_t h = 0; h < 3; ++h) {
        for (std::uint32_t i = 0; i < rotary / 2; ++i) {
          const std::size_t a = h * head_dim + (neox ? i : 2 * i);
          const std::size_t b = h * head_dim + (neox ? i + rotary / 2 : 2 * i + 1);
          ASSERT_NEAR(out[a], double{x[a]} * cosines[i] - double{x[b]} * sines[i], 1e-6);
          ASSERT_NEAR(out[b], double{x[a]} * sines[i] + double{x[b]} * cosines[i], 1e-6);
        }
        for (std::uint32_t i = rotary; i < head_dim; ++i) ASSERT_EQ(out[h * head_dim + i], x[h * head_dim + i]);
      }
    }
  }
}

TEST_P(Vectors, add_adds_every_value) {
  Random random(6);
  for (const std::uint32_t count : {1U, 16U, 33U, 1001U}) {
    const std::vector<float> a = random_activations(1, count, Style::Normal, random);
    const std::vector<float> b = random_activations(1, count, Style::Normal, random);
    std::vector<float> sum = a;
    table_.add(sum.data(), b.data(), count);
    for (std::uint32_t i = 0; i < count; ++i) ASSERT_EQ(sum[i], a[i] + b[i]);
  }
}

}  // namespace
}  // namespace loadline::cpu::test
