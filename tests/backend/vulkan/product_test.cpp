// Every weight format, on the GPU, against the scalar oracle: products with one, a few and many rows of activations.
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "backend/vulkan/products.h"

namespace loadline::vulkan::test {
namespace {

class Products : public GpuTest, public testing::WithParamInterface<TensorType> {
 protected:
  const std::uint32_t block_ = quant::format_of(GetParam()).block_elements;
};

INSTANTIATE_TEST_SUITE_P(Formats, Products, testing::ValuesIn(cpu::test::weight_types()),
                         [](const auto& row) { return std::string(quant::name_of(row.param)); });

void expect_plain_product(Gpu& gpu, const Request& request) {
  const Result result = run(gpu, request);
  expect_untouched(result, request);
  for (std::uint32_t t = 0; t < request.tokens; ++t) {
    for (std::uint32_t r = request.first_row; r < request.weights.rows; ++r) {
      const auto expected = cpu::test::expected_product(request.weights, request.x, r, t);
      ASSERT_NEAR(result.at(t, r), expected.value, expected.tolerance)
          << request.weights.rows << " x " << request.weights.columns << ", " << request.tokens << " tokens of "
          << request.most << ": row " << r << " token " << t;
    }
  }
}

// Rows of activations, and the class they are recorded for.
struct Pass {
  std::uint32_t tokens, most;
};
constexpr Pass kPasses[] = {{1, 1}, {3, kMostVectorRows}, {8, kMostVectorRows}, {5, 64}, {70, 128}};

TEST_P(Products, AgreeWithTheOracleForAnyShape) {
  Random random(1);
  for (const std::uint32_t rows : {1U, 33U, 70U}) {
    for (const std::uint32_t blocks : {1U, 3U}) {
      const std::uint32_t columns = block_ == 1 ? blocks * 37 : blocks * block_;
      const TestMatrix m(GetParam(), rows, columns, Style::Normal, random);
      for (const Pass pass : kPasses) {
        const std::vector<float> x = cpu::test::random_activations(pass.tokens, columns, Style::Normal, random);
        expect_plain_product(gpu(), {m, nullptr, x, pass.tokens, pass.most});
      }
    }
  }
}

TEST_P(Products, AgreeWithTheOracleForExtremeValues) {
  Random random(2);
  for (const Style style : {Style::Extreme, Style::Zero, Style::Constant}) {
    const TestMatrix m(GetParam(), 40, 512, style, random);
    for (const Pass pass : kPasses) {
      const std::vector<float> x = cpu::test::random_activations(pass.tokens, 512, style, random);
      expect_plain_product(gpu(), {m, nullptr, x, pass.tokens, pass.most});
    }
  }
}

TEST_P(Products, ComputeOnlyTheRowsAskedFor) {
  Random random(3);
  const TestMatrix m(GetParam(), 150, 256, Style::Normal, random);
  for (const Pass pass : kPasses) {
    const std::vector<float> x = cpu::test::random_activations(pass.tokens, 256, Style::Normal, random);
    Request request{m, nullptr, x, pass.tokens, pass.most};
    request.first_row = 128;
    expect_plain_product(gpu(), request);
    EXPECT_EQ(run(gpu(), request).at(0, 127), kUntouched);
  }
}

TEST_P(Products, ComputeOnlyTheTokensAskedFor) {
  Random random(8);
  const TestMatrix m(GetParam(), 70, 256, Style::Normal, random);
  const std::vector<float> x = cpu::test::random_activations(70, 256, Style::Normal, random);
  for (const std::uint32_t most : {6U, 64U}) {
    Request request{m, nullptr, x, 70, most};
    request.first_token = 64;
    const Result result = run(gpu(), request);
    expect_untouched(result, request);
    for (std::uint32_t r = 0; r < m.rows; ++r) {
      ASSERT_EQ(result.at(63, r), kUntouched);
      for (std::uint32_t t = 64; t < 70; ++t) {
        const auto expected = cpu::test::expected_product(m, x, r, t);
        ASSERT_NEAR(result.at(t, r), expected.value, expected.tolerance) << "row " << r << " token " << t;
      }
    }
  }
}

TEST_P(Products, AddBiasAndWhatIsThere) {
  Random random(4);
  const TestMatrix m(GetParam(), 45, 256, Style::Normal, random);
  const std::vector<float> bias = cpu::test::random_activations(1, 45, Style::Normal, random);
  for (const Pass pass : kPasses) {
    const std::vector<float> x = cpu::test::random_activations(pass.tokens, 256, Style::Normal, random);
    Request request{m, nullptr, x, pass.tokens, pass.most, kAccumulate | kSelected};
    request.bias = bias;
    request.prior = 2.5F;
    const Result result = run(gpu(), request);
    expect_untouched(result, request);
    for (std::uint32_t t = 0; t < pass.tokens; ++t) {
      for (std::uint32_t r = 0; r < m.rows; ++r) {
        const auto expected = cpu::test::expected_product(m, x, r, t);
        ASSERT_NEAR(result.at(t, r), expected.value + bias[r] + 2.5, expected.tolerance + 1e-5);
      }
    }
  }
}

TEST_P(Products, GateOneProductWithAnother) {
  Random random(5);
  const TestMatrix gate(GetParam(), 45, 256, Style::Normal, random);
  const TestMatrix up(GetParam(), 45, 256, Style::Normal, random);
  for (const Pass pass : kPasses) {
    const std::vector<float> x = cpu::test::random_activations(pass.tokens, 256, Style::Normal, random);
    const Request together{gate, &up, x, pass.tokens, pass.most, kGated | function_flag(model::Activation::Silu)};
    const Result result = run(gpu(), together);
    expect_untouched(result, together);
    Request apart{up, nullptr, x, pass.tokens, pass.most, kActivatePrior | function_flag(model::Activation::Silu)};
    apart.prior = 0.75F;
    const Result second = run(gpu(), apart);
    for (std::uint32_t t = 0; t < pass.tokens; ++t) {
      for (std::uint32_t r = 0; r < gate.rows; ++r) {
        const auto a = cpu::test::expected_product(gate, x, r, t);
        const auto b = cpu::test::expected_product(up, x, r, t);
        const double tolerance = std::fabs(a.value) * b.tolerance + std::fabs(b.value) * a.tolerance * 1.1 + 1e-5;
        ASSERT_NEAR(result.at(t, r), silu(a.value) * b.value, tolerance) << "row " << r << " token " << t;
        ASSERT_NEAR(second.at(t, r), silu(0.75) * b.value, b.tolerance + 1e-5) << "row " << r << " token " << t;
      }
    }
  }
}

TEST_P(Products, NormaliseOneRowOnTheWay) {
  Random random(6);
  const TestMatrix m(GetParam(), 45, 512, Style::Normal, random);
  const std::vector<float> x = cpu::test::random_activations(1, 512, Style::Normal, random);
  const std::vector<float> norm = cpu::test::random_activations(1, 512, Style::Normal, random);
  double squares = 0;
  for (const float value : x) squares += double{value} * value;
  std::vector<float> normed(512);
  for (int i = 0; i < 512; ++i) normed[i] = static_cast<float>(x[i] / std::sqrt(squares / 512 + 1e-5) * norm[i]);
  Request request{m, nullptr, x, 1, 1};
  request.norm = norm;
  const Result result = run(gpu(), request);
  for (std::uint32_t r = 0; r < m.rows; ++r) {
    const auto expected = cpu::test::expected_product(m, normed, r, 0);
    ASSERT_NEAR(result.at(0, r), expected.value, expected.tolerance * 2) << "row " << r;
  }
}

TEST_P(Products, LookUpEmbeddings) {
  Random random(7);
  for (const std::uint32_t columns : {block_ == 1 ? 37U : block_, 768U}) {
    const TestMatrix m(GetParam(), 20, columns, Style::Normal, random);
    const std::vector<std::uint32_t> ids = {3, 19, 0, 3};
    const Buffer weights = gpu().buffer(m.file);
    const Buffer id_buffer = gpu().buffer(ids);
    const Buffer table = gpu().buffer(std::vector<std::uint32_t>{4, 0});
    const Buffer out = gpu().buffer(std::vector<float>(5 * columns, kUntouched));
    const EmbedArguments arguments{
        weights.address(), id_buffer.address(),
        out.address(),     table.address(),
        columns,           static_cast<std::uint32_t>(quant::size_of(m.type, columns).value)};
    gpu().run([&](CommandList& list) { gpu().operations.embed(list, m.type, arguments, 6); });
    for (std::uint32_t i = 0; i < columns; ++i) {
      for (std::uint32_t t = 0; t < 4; ++t) {
        const float expected = m.values[ids[t] * columns + i];
        ASSERT_NEAR(as<float>(out)[t * columns + i], expected, 1e-6 * std::fabs(expected) + 2e-6) << t << ", " << i;
      }
      ASSERT_EQ(as<float>(out)[4 * columns + i], kUntouched);
    }
  }
}

// Where a test is for subgroups of a size, it must not run with others.
using Lanes = GpuTest;

TEST_F(Lanes, SubgroupsAreAsWideAsAsked) {
  const char* wanted = std::getenv("LOADLINE_TEST_LANES");
  if (wanted == nullptr) GTEST_SKIP() << "no size is asked for (LOADLINE_TEST_LANES)";
  if (!gpu().context.limits().software) GTEST_SKIP() << "only a software device can be asked for a size";
  EXPECT_EQ(std::to_string(gpu().context.limits().lanes), wanted);
}

}  // namespace
}  // namespace loadline::vulkan::test
