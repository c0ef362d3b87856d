// Products on the processor's matrix unit: those of the other kernels, but for the rounding to bfloat16.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/kernel_cases.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu::test {
namespace {

const KernelTable* table_with_unit() {
  for (const KernelTable* table : available_kernels()) {
    if (table->matrix_unit) return table;
  }
  return nullptr;
}

constexpr float kUntouched = -12345.0F;

class MatrixUnit : public testing::TestWithParam<TensorType> {
 protected:
  void SetUp() override {
    if (table_with_unit() == nullptr) GTEST_SKIP() << "this processor has no matrix unit";
    table_ = table_with_unit();
  }

  [[nodiscard]] Buffer tiles_of(TensorType type, const std::vector<float>& x, std::uint32_t tokens,
                                std::uint32_t columns) const {
    const ActivationKind kind = quant::in_tiles(quant::activation_kind(type));
    Buffer out(quant::activation_bytes(kind, columns, tokens).value);
    table_->prepare(kind, x.data(), columns, columns, 0, tokens, tokens, out.data());
    return out;
  }

  // All rows of the product, `stride` floats apart.
  [[nodiscard]] std::vector<float> product(const TestMatrix& m, const std::vector<float>& x, std::uint32_t tokens,
                                           std::uint64_t stride) const {
    const Buffer activations = tiles_of(m.type, x, tokens, m.columns);
    const Buffer workspace(quant::matrix_workspace(tokens).value, 0xFF);
    std::vector<float> out(tokens * stride, kUntouched);
    const MatmulTask task{m.matrix(), activations.data(), tokens, out.data(), stride, nullptr, false, workspace.data()};
    table_->matmul(task, 0, m.matrix().tiles(), nullptr);
    return out;
  }

  void expect_products(const TestMatrix& m, std::uint32_t tokens, Style style, Random& random) const {
    const std::vector<float> x = random_activations(tokens, m.columns, style, random);
    const std::uint64_t stride = m.rows + 3;
    const std::vector<float> out = product(m, x, tokens, stride);
    for (std::uint32_t t = 0; t < tokens; ++t) {
      for (std::uint32_t r = 0; r < m.rows; ++r) {
        const Expected expected = expected_product(m, x, r, t);
        ASSERT_NEAR(out[t * stride + r], expected.value, tolerance(m, x, r, t))
            << m.rows << " x " << m.columns << ", " << tokens << " tokens, " << name_of(style) << ": row " << r
            << " token " << t;
      }
      for (std::uint64_t r = m.rows; r < stride; ++r) ASSERT_EQ(out[t * stride + r], kUntouched);
    }
  }

  // Both factors are rounded to 8 bits, which is at most 2^-8 of each; in two parts, to 16 bits. What is below 2^-126,
  // a factor or a product, counts as zero.
  static double tolerance(const TestMatrix& m, const std::vector<float>& x, std::uint32_t row, std::uint32_t token) {
    const double least = std::ldexp(1.0, -126);
    double magnitudes = 0;
    double flushed = 0;
    for (std::uint32_t c = 0; c < m.columns; ++c) {
      const double weight = std::fabs(double{m.values[std::size_t{row} * m.columns + c]});
      const double value = std::fabs(double{x[std::size_t{token} * m.columns + c]});
      magnitudes += weight * value;
      flushed += least * (weight + value + 1);
    }
    const bool parts = quant::activation_kind(m.type) == ActivationKind::Float32;
    return magnitudes * std::ldexp(1.01, parts ? -15 : -7) + flushed + expected_product(m, x, row, token).tolerance;
  }

  const KernelTable* table_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Kernels, MatrixUnit, testing::ValuesIn(weight_types()),
                         [](const auto& row) { return std::string(quant::name_of(row.param)); });

TEST_P(MatrixUnit, agrees_with_the_oracle_for_any_shape) {
  const std::uint32_t block = quant::format_of(GetParam()).block_elements;
  Random random(1);
  for (const std::uint32_t rows : {1U, 16U, 33U, 70U}) {
    for (const std::uint32_t blocks : {1U, 3U, 9U}) {
      for (const std::uint32_t tokens : {32U, 33U, 49U}) {
        const TestMatrix m(GetParam(), rows, blocks * block, Style::Normal, random);
        expect_products(m, tokens, Style::Normal, random);
      }
    }
  }
  // More rows, and more tokens, than are summed at a time.
  const TestMatrix tall(GetParam(), quant::kMatrixRows + 37, block, Style::Normal, random);
  expect_products(tall, 40, Style::Normal, random);
  const TestMatrix wide(GetParam(), 20, block == 256 ? 256 : 3 * block, Style::Normal, random);
  expect_products(wide, quant::kMatrixBlock + 21, Style::Normal, random);
}

TEST_P(MatrixUnit, agrees_with_the_oracle_for_extreme_values) {
  const std::uint32_t block = quant::format_of(GetParam()).block_elements;
  Random random(2);
  constexpr Style kStyles[] = {Style::Normal,   Style::Extreme,  Style::Zero,
                               Style::Denormal, Style::Constant, Style::Lowest};
  for (const Style weights : kStyles) {
    for (const Style activations : kStyles) {
      const TestMatrix m(GetParam(), 21, (block == 256 ? 2 : 13) * block, weights, random);
      SCOPED_TRACE(std::string("weights ") + std::string(name_of(weights)));
      expect_products(m, 35, activations, random);
    }
  }
}

// Rounding errors of many values mostly cancel: a systematic one would show.
TEST_P(MatrixUnit, rounds_without_a_bias) {
  const std::uint32_t block = quant::format_of(GetParam()).block_elements;
  Random random(3);
  const std::uint32_t columns = block == 256 ? 2048 : 64 * block;
  const TestMatrix m(GetParam(), 32, columns, Style::Normal, random);
  // Products of one sign: the weights times their own signs.
  std::vector<float> x(std::size_t{32} * columns);
  std::uniform_real_distribution<float> values(0.5F, 2.0F);
  for (std::uint32_t t = 0; t < 32; ++t) {
    for (std::uint32_t c = 0; c < columns; ++c) {
      x[std::size_t{t} * columns + c] = std::copysign(values(random), m.values[std::size_t{t} * columns + c]);
    }
  }
  const std::vector<float> out = product(m, x, 32, 32);
  double off = 0;
  for (std::uint32_t t = 0; t < 32; ++t) {
    const double expected = expected_product(m, x, t, t).value;
    off += (out[std::size_t{t} * 32 + t] - expected) / expected / 32;
  }
  EXPECT_LT(std::fabs(off), 2e-4);
}

TEST_P(MatrixUnit, depends_on_neither_the_split_nor_the_other_tokens) {
  Random random(4);
  const std::uint32_t columns = 2 * std::max(quant::format_of(GetParam()).block_elements, 64U);
  const std::uint32_t tokens = 77;
  const TestMatrix m(GetParam(), 16 * 7 + 5, columns, Style::Normal, random);
  const std::vector<float> x = random_activations(tokens, columns, Style::Normal, random);
  const std::vector<float> whole = product(m, x, tokens, m.rows);
  const Buffer activations = tiles_of(GetParam(), x, tokens, columns);
  const Buffer workspace(quant::matrix_workspace(tokens).value, 0xFF);
  std::vector<float> parts(whole.size(), kUntouched);
  const MatmulTask task{m.matrix(), activations.data(), tokens, parts.data(), m.rows, nullptr, false, workspace.data()};
  table_->matmul(task, 7, 8, nullptr);
  table_->matmul(task, 0, 1, nullptr);
  table_->matmul(task, 1, 4, nullptr);
  table_->matmul(task, 4, 7, nullptr);
  EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0);
  const std::vector<float> last(x.end() - std::ptrdiff_t{34} * columns, x.end());
  const std::vector<float> fewer = product(m, last, 34, m.rows);
  EXPECT_EQ(std::memcmp(&whole[std::size_t{tokens - 34} * m.rows], fewer.data(), fewer.size() * sizeof(float)), 0);
}

TEST_P(MatrixUnit, adds_a_bias_and_what_was_there) {
  Random random(5);
  const std::uint32_t columns = 2 * std::max(quant::format_of(GetParam()).block_elements, 64U);
  const std::uint32_t tokens = 45;
  const TestMatrix m(GetParam(), 37, columns, Style::Normal, random);
  const std::vector<float> x = random_activations(tokens, columns, Style::Normal, random);
  const std::vector<float> plain = product(m, x, tokens, m.rows);
  const Buffer activations = tiles_of(GetParam(), x, tokens, columns);
  const Buffer workspace(quant::matrix_workspace(tokens).value, 0xFF);
  const std::vector<float> bias = random_activations(1, m.rows, Style::Normal, random);
  const std::vector<float> before = random_activations(tokens, m.rows, Style::Normal, random);
  std::vector<float> out = before;
  table_->matmul({m.matrix(), activations.data(), tokens, out.data(), m.rows, bias.data(), true, workspace.data()}, 0,
                 3, nullptr);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    ASSERT_NEAR(out[i], plain[i] + bias[i % m.rows] + before[i], 1e-5 * (1 + std::fabs(plain[i])));
  }
}

TEST_P(MatrixUnit, gated_is_silu_of_the_gate_times_up) {
  Random random(6);
  const std::uint32_t columns = 2 * std::max(quant::format_of(GetParam()).block_elements, 64U);
  const std::uint32_t rows = 16 * 19 + 5;
  const std::uint32_t tokens = 50;
  for (const TensorType other : {GetParam(), TensorType::Q4_0, TensorType::F16}) {
    if (columns % quant::format_of(other).block_elements != 0) continue;
    const TestMatrix gate(GetParam(), rows, columns, Style::Normal, random);
    const TestMatrix up(other, rows, columns, Style::Normal, random);
    std::vector<float> x = random_activations(tokens, columns, Style::Normal, random);
    for (float& value : x) value *= 0.1F;
    const std::vector<float> gates = product(gate, x, tokens, rows);
    const std::vector<float> ups = product(up, x, tokens, rows);
    const Buffer for_gate = tiles_of(GetParam(), x, tokens, columns);
    const Buffer for_up = tiles_of(other, x, tokens, columns);
    const Buffer workspace(quant::matrix_workspace(tokens).value, 0xFF);
    std::vector<float> out(gates.size(), kUntouched);
    const GatedTask task{gate.matrix(), up.matrix(), for_gate.data(), for_up.data(), tokens,
                         out.data(),    rows,        workspace.data()};
    table_->gated(task, 18, 20, nullptr);
    table_->gated(task, 0, 18, nullptr);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double expected = gates[i] / (1 + std::exp(-double{gates[i]})) * ups[i];
      ASSERT_NEAR(out[i], expected, 1e-5 * (std::fabs(expected) + std::fabs(ups[i]))) << "at " << i;
    }
  }
}

TEST_P(MatrixUnit, carries_infinity_and_nan_to_the_result) {
  Random random(7);
  const std::uint32_t columns = std::max(quant::format_of(GetParam()).block_elements, 64U);
  const TestMatrix m(GetParam(), 16, columns, Style::Constant, random);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x = random_activations(32, columns, Style::Normal, random);
    x[5] = bad;
    const std::vector<float> out = product(m, x, 32, 16);
    EXPECT_FALSE(std::isfinite(out[0]));
    EXPECT_TRUE(std::isfinite(out[16])) << "the other tokens are not touched";
  }
}

TEST_P(MatrixUnit, ends_early_when_asked_to_stop) {
  Random random(8);
  const std::uint32_t columns = std::max(quant::format_of(GetParam()).block_elements, 64U);
  const TestMatrix m(GetParam(), 64, columns, Style::Normal, random);
  const std::vector<float> x = random_activations(32, columns, Style::Normal, random);
  const Buffer activations = tiles_of(GetParam(), x, 32, columns);
  const Buffer workspace(quant::matrix_workspace(32).value);
  const StopFlag stop{true};
  std::vector<float> out(std::size_t{32} * 64, kUntouched);
  table_->matmul({m.matrix(), activations.data(), 32, out.data(), 64, nullptr, false, workspace.data()}, 0, 4, &stop);
  table_->gated({m.matrix(), m.matrix(), activations.data(), activations.data(), 32, out.data(), 64, workspace.data()},
                0, 4, &stop);
  EXPECT_EQ(std::count(out.begin(), out.end(), kUntouched), 32 * 64);
}

}  // namespace
}  // namespace loadline::cpu::test
