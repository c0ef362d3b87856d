#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>

#include "backend/cpu/kernel_cases.h"
#include "backend/cpu/tile.h"

namespace loadline::cpu::test {
namespace {

using Row = std::tuple<const KernelTable*, TensorType>;

class Products : public testing::TestWithParam<Row> {
 protected:
  const KernelTable& table_ = *std::get<0>(GetParam());
  const TensorType type_ = std::get<1>(GetParam());
  const ActivationKind kind_ = quant::activation_kind(type_);
  const std::uint32_t block_ = quant::format_of(type_).block_elements;
};

INSTANTIATE_TEST_SUITE_P(Kernels, Products,
                         testing::Combine(testing::ValuesIn(tables()), testing::ValuesIn(weight_types())),
                         [](const auto& row) {
                           return std::string(std::get<0>(row.param)->name) + "_" +
                                  std::string(quant::name_of(std::get<1>(row.param)));
                         });

constexpr float kUntouched = -12345.0F;

// Runs the product and compares all of it; columns between the rows' end and the stride must stay as they were.
void expect_products(const KernelTable& table, const TestMatrix& m, std::uint32_t tokens, Style style, Random& random) {
  const ActivationKind kind = quant::activation_kind(m.type);
  const std::vector<float> x = random_activations(tokens, m.columns, style, random);
  const Buffer activations = prepared(table, m.type, x, tokens, m.columns);
  const std::vector<float> seen = restored(kind, activations, tokens, m.columns);
  const std::uint64_t stride = m.rows + 3;
  std::vector<float> out(tokens * stride, kUntouched);
  const MatmulTask task{m.matrix(), activations.data(), tokens, out.data(), stride, nullptr, false};
  table.matmul(task, 0, m.matrix().tiles(), nullptr);
  int reported = 0;
  for (std::uint32_t t = 0; t < tokens && reported < 5; ++t) {
    for (std::uint32_t r = 0; r < m.rows; ++r) {
      const Expected expected = expected_product(m, seen, r, t);
      if (std::fabs(out[t * stride + r] - expected.value) <= expected.tolerance) continue;
      ADD_FAILURE() << m.rows << " x " << m.columns << ", " << tokens << " tokens, " << name_of(style) << ": row " << r
                    << " token " << t << " is " << out[t * stride + r] << " instead of " << expected.value << " +- "
                    << expected.tolerance;
      ++reported;
      break;
    }
    for (std::uint64_t r = m.rows; r < stride; ++r) EXPECT_EQ(out[t * stride + r], kUntouched);
  }
}

TEST_P(Products, agree_with_the_oracle_for_any_shape) {
  Random random(1);
  for (const std::uint32_t rows : {1U, 16U, 33U, 70U}) {
    for (const std::uint32_t blocks : {1U, 3U, 9U}) {
      for (const std::uint32_t tokens : {1U, 2U, 5U, 8U, 19U, 40U}) {
        const TestMatrix m(type_, rows, blocks * block_, Style::Normal, random);
        expect_products(table_, m, tokens, Style::Normal, random);
      }
    }
  }
  for (int i = 0; i < 20; ++i) {
    const auto rows = static_cast<std::uint32_t>(1 + random() % 70);
    const auto columns = static_cast<std::uint32_t>((1 + random() % (block_ == 256 ? 5 : 40)) * block_);
    const auto tokens = static_cast<std::uint32_t>(1 + random() % 40);
    const TestMatrix m(type_, rows, columns, Style::Normal, random);
    expect_products(table_, m, tokens, Style::Normal, random);
  }
}

TEST_P(Products, agree_with_the_oracle_for_extreme_values) {
  Random random(2);
  constexpr Style kStyles[] = {Style::Normal,   Style::Extreme,  Style::Zero,
                               Style::Denormal, Style::Constant, Style::Lowest};
  for (const Style weights : kStyles) {
    for (const Style activations : kStyles) {
      for (const std::uint32_t tokens : {1U, 11U}) {
        const TestMatrix m(type_, 21, (block_ == 256 ? 2 : 13) * block_, weights, random);
        SCOPED_TRACE(std::string("weights ") + std::string(name_of(weights)));
        expect_products(table_, m, tokens, activations, random);
      }
    }
  }
}

// To the bit, the matrix unit's aside.
TEST_P(Products, of_many_tokens_are_those_of_one) {
  Random random(10);
  const std::uint32_t columns = (block_ == 256 ? 3 : 17) * block_;
  constexpr Style kStyles[] = {Style::Normal, Style::Extreme};
  for (const std::uint32_t tokens : {2U, 5U, 7U, 8U, 39U, 300U}) {  // the last is more than any block of tokens
    const Style style = kStyles[tokens % 2];
    const TestMatrix m(type_, 37, columns, style, random);
    const TestMatrix up(type_, 37, columns, style, random);
    const std::vector<float> x = random_activations(tokens, columns, style, random);
    const Buffer all = prepared(table_, type_, x, tokens, columns);
    std::vector<float> together(std::size_t{tokens} * m.rows);
    std::vector<float> gated(together.size());
    table_.matmul({m.matrix(), all.data(), tokens, together.data(), m.rows, nullptr, false}, 0, 3, nullptr);
    table_.gated({m.matrix(), up.matrix(), all.data(), all.data(), tokens, gated.data(), m.rows}, 0, 3, nullptr);
    for (std::uint32_t t = 0; t < tokens; ++t) {
      const std::vector<float> one(x.begin() + t * columns, x.begin() + (t + 1) * columns);
      const Buffer activations = prepared(table_, type_, one, 1, columns);
      std::vector<float> alone(m.rows);
      const auto expect_same = [&](const std::vector<float>& seen, const char* what) {
        EXPECT_EQ(std::memcmp(seen.data() + std::size_t{t} * m.rows, alone.data(), m.rows * sizeof(float)), 0)
            << what << ", token " << t << " of " << tokens;
      };
      table_.matmul({m.matrix(), activations.data(), 1, alone.data(), m.rows, nullptr, false}, 0, 3, nullptr);
      expect_same(together, "product");
      table_.gated({m.matrix(), up.matrix(), activations.data(), activations.data(), 1, alone.data(), m.rows}, 0, 3,
                   nullptr);
      expect_same(gated, "gated");
    }
  }
}

TEST_P(Products, do_not_depend_on_the_split_into_tiles) {
  Random random(4);
  const std::uint32_t columns = 2 * std::max(block_, 64U);
  for (const std::uint32_t tokens : {1U, 13U}) {
    const TestMatrix m(type_, 16 * 7 + 5, columns, Style::Normal, random);
    const std::vector<float> x = random_activations(tokens, columns, Style::Normal, random);
    const Buffer activations = prepared(table_, type_, x, tokens, columns);
    std::vector<float> whole(std::size_t{tokens} * m.rows);
    std::vector<float> parts(whole.size(), kUntouched);
    table_.matmul({m.matrix(), activations.data(), tokens, whole.data(), m.rows, nullptr, false}, 0, 8, nullptr);
    const MatmulTask task{m.matrix(), activations.data(), tokens, parts.data(), m.rows, nullptr, false};
    table_.matmul(task, 7, 8, nullptr);
    table_.matmul(task, 0, 1, nullptr);
    table_.matmul(task, 1, 4, nullptr);
    table_.matmul(task, 4, 7, nullptr);
    EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0) << tokens << " tokens";
  }
}

TEST_P(Products, of_two_runs_of_tiles_side_by_side_are_those_of_each) {
  Random random(9);
  const std::uint32_t columns = 2 * std::max(block_, 64U);
  for (const std::uint32_t tokens : {1U, 4U, table_.few_tokens(type_)}) {
    const TestMatrix m(type_, 16 * 30 + 5, columns, Style::Normal, random);
    const std::vector<float> x = random_activations(tokens, columns, Style::Normal, random);
    const Buffer activations = prepared(table_, type_, x, tokens, columns);
    std::vector<float> whole(std::size_t{tokens} * m.rows);
    std::vector<float> parts(whole.size(), kUntouched);
    table_.matmul({m.matrix(), activations.data(), tokens, whole.data(), m.rows, nullptr, false}, 0, 31, nullptr);
    MatmulTask task{m.matrix(), activations.data(), tokens, parts.data(), m.rows, nullptr, false};
    task.alongside = 14;  // tiles 3 to 13 and 17 to 27, more than results are kept of at a time
    table_.matmul(task, 3, 14, nullptr);
    task.alongside = 27;  // 0 to 2 and 27 to 29
    table_.matmul(task, 0, 3, nullptr);
    task.alongside = 16;  // 14 and the partial one
    table_.matmul(task, 14, 15, nullptr);
    task.alongside = 0;
    table_.matmul(task, 15, 17, nullptr);
    EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0) << tokens << " tokens";
  }
}

TEST_P(Products, of_two_runs_of_gates_side_by_side_are_those_of_each) {
  Random random(10);
  const std::uint32_t columns = std::max(block_, 64U);
  constexpr std::uint32_t kRun = 2 * kRunTiles + 3;  // more than the results that are kept at a time
  for (const std::uint32_t tokens : {1U, 3U, table_.few_tokens(type_)}) {
    const TestMatrix m(type_, 16 * 2 * kRun + 5, columns, Style::Normal, random);
    const TestMatrix up(type_, m.rows, columns, Style::Normal, random);
    const std::vector<float> x = random_activations(tokens, columns, Style::Normal, random);
    const Buffer activations = prepared(table_, type_, x, tokens, columns);
    std::vector<float> alone(std::size_t{tokens} * m.rows);
    std::vector<float> runs(alone.size(), kUntouched);
    GatedTask task{m.matrix(), up.matrix(), activations.data(), activations.data(), tokens, alone.data(), m.rows};
    for (std::uint32_t i = 0; i <= 2 * kRun; ++i) table_.gated(task, i, i + 1, nullptr);
    task.out = runs.data();
    task.alongside = kRun;
    table_.gated(task, 0, kRun, nullptr);
    task.alongside = 0;
    table_.gated(task, 2 * kRun, 2 * kRun + 1, nullptr);
    EXPECT_EQ(std::memcmp(alone.data(), runs.data(), alone.size() * sizeof(float)), 0) << tokens << " tokens";
  }
}

TEST_P(Products, add_a_bias_and_what_was_there) {
  Random random(5);
  const std::uint32_t columns = 2 * std::max(block_, 64U);
  for (const std::uint32_t tokens : {1U, 3U, 18U}) {
    const TestMatrix m(type_, 37, columns, Style::Normal, random);
    const std::vector<float> x = random_activations(tokens, columns, Style::Normal, random);
    const Buffer activations = prepared(table_, type_, x, tokens, columns);
    const std::vector<float> bias = random_activations(1, m.rows, Style::Normal, random);
    std::vector<float> plain(std::size_t{tokens} * m.rows);
    table_.matmul({m.matrix(), activations.data(), tokens, plain.data(), m.rows, nullptr, false}, 0, 3, nullptr);
    std::vector<float> biased(plain.size(), kUntouched);
    table_.matmul({m.matrix(), activations.data(), tokens, biased.data(), m.rows, bias.data(), false}, 0, 3, nullptr);
    const std::vector<float> before = random_activations(tokens, m.rows, Style::Normal, random);
    std::vector<float> added = before;
    table_.matmul({m.matrix(), activations.data(), tokens, added.data(), m.rows, nullptr, true}, 0, 3, nullptr);
    for (std::size_t i = 0; i < plain.size(); ++i) {
      EXPECT_NEAR(biased[i], plain[i] + bias[i % m.rows], 1e-5 * (1 + std::fabs(plain[i])));
      EXPECT_NEAR(added[i], plain[i] + before[i], 1e-5 * (1 + std::fabs(plain[i])));
    }
  }
}

TEST_P(Products, gated_is_silu_of_the_gate_times_up) {
  Random random(6);
  const std::uint32_t columns = 2 * std::max(block_, 64U);
  // The other matrix has a format of another activation kind or of the same.
  for (const TensorType other : {type_, TensorType::Q4_0, TensorType::F16}) {
    if (columns % quant::format_of(other).block_elements != 0) continue;
    for (const std::uint32_t tokens : {1U, 4U, 21U}) {
      const TestMatrix gate(type_, 53, columns, Style::Normal, random);
      const TestMatrix up(other, 53, columns, Style::Normal, random);
      std::vector<float> x = random_activations(tokens, columns, Style::Normal, random);
      for (float& value : x) value *= 0.1F;
      const Buffer for_gate = prepared(table_, type_, x, tokens, columns);
      const Buffer for_up = prepared(table_, other, x, tokens, columns);
      std::vector<float> gates(std::size_t{tokens} * 53);
      std::vector<float> ups(gates.size());
      table_.matmul({gate.matrix(), for_gate.data(), tokens, gates.data(), 53, nullptr, false}, 0, 4, nullptr);
      table_.matmul({up.matrix(), for_up.data(), tokens, ups.data(), 53, nullptr, false}, 0, 4, nullptr);
      std::vector<float> out(gates.size(), kUntouched);
      const bool same = quant::activation_kind(other) == kind_;
      const GatedTask task{gate.matrix(), up.matrix(), for_gate.data(), same ? for_gate.data() : for_up.data(), tokens,
                           out.data(),    53};
      const auto check = [&](const char* how) {
        for (std::size_t i = 0; i < out.size(); ++i) {
          const double expected = gates[i] / (1 + std::exp(-double{gates[i]})) * ups[i];
          ASSERT_NEAR(out[i], expected, 1e-5 * (std::fabs(expected) + std::fabs(ups[i]))) << how << ", at " << i;
        }
      };
      table_.gated(task, 2, 4, nullptr);
      table_.gated(task, 0, 2, nullptr);
      check("both");
      std::ranges::fill(out, kUntouched);
      table_.matmul(task.product_of_gate(), 0, 4, nullptr);
      table_.matmul(task.product_of_up(), 2, 4, nullptr);
      table_.matmul(task.product_of_up(), 0, 2, nullptr);
      check("singly");
    }
  }
}

TEST_P(Products, carry_infinity_and_nan_to_the_result) {
  Random random(7);
  const std::uint32_t columns = std::max(block_, 64U);
  const TestMatrix m(type_, 16, columns, Style::Constant, random);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x = random_activations(2, columns, Style::Normal, random);
    x[5] = bad;
    const Buffer activations = prepared(table_, type_, x, 2, columns);
    std::vector<float> out(32);
    table_.matmul({m.matrix(), activations.data(), 2, out.data(), 16, nullptr, false}, 0, 1, nullptr);
    EXPECT_FALSE(std::isfinite(out[0]));
    EXPECT_TRUE(std::isfinite(out[16])) << "the other token is not touched";
  }
}

TEST_P(Products, end_early_when_asked_to_stop) {
  Random random(8);
  const std::uint32_t columns = std::max(block_, 64U);
  const TestMatrix m(type_, 64, columns, Style::Normal, random);
  const std::vector<float> x = random_activations(9, columns, Style::Normal, random);
  const Buffer activations = prepared(table_, type_, x, 9, columns);
  const StopFlag stop{true};
  std::vector<float> out(9 * 64, kUntouched);
  table_.matmul({m.matrix(), activations.data(), 9, out.data(), 64, nullptr, false}, 0, 4, &stop);
  table_.gated({m.matrix(), m.matrix(), activations.data(), activations.data(), 9, out.data(), 64}, 0, 4, &stop);
  EXPECT_EQ(std::count(out.begin(), out.end(), kUntouched), 9 * 64);
}

}  // namespace
}  // namespace loadline::cpu::test
