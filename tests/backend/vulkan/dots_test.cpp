// Products of bytes (VK_KHR_shader_integer_dot_product) against the scalar oracle, and the check that keeps those that
// are wrong from being used. The test GPU has them, though it does not call itself fast at them.
#include <algorithm>
#include <cmath>
#include <memory>

#include "backend/vulkan/products.h"
#include "backend/vulkan/units_check.h"

namespace loadline::vulkan::test {
namespace {

constexpr TensorType kWholeNumbers[] = {TensorType::Q4_0, TensorType::Q4_1, TensorType::Q5_0, TensorType::Q5_1,
                                        TensorType::Q8_0, TensorType::Q2_K, TensorType::Q3_K, TensorType::Q4_K,
                                        TensorType::Q5_K, TensorType::Q6_K};

TEST(DotFormats, are_those_whose_weights_are_whole_numbers_with_a_scale) {
  for (const TensorType type : cpu::test::weight_types()) {
    EXPECT_EQ(suits_integer_dots(type), std::ranges::find(kWholeNumbers, type) != std::end(kWholeNumbers))
        << quant::name_of(type);
  }
}

DeviceOptions dots_options(Messages& messages, const std::string& broken = {}) {
  DeviceOptions options = options_for_tests(messages);
  options.integer_dots = true;
  options.broken_shader = broken;
  return options;
}

class Dots : public GpuTest, public testing::WithParamInterface<TensorType> {
 protected:
  static void TearDownTestSuite() {
    dots_.reset();
    GpuTest::TearDownTestSuite();
  }
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    if (!dots_) dots_ = std::make_unique<Gpu>(dots_options(messages_of_dots));
    if (!dots_->context.integer_dots()) GTEST_SKIP() << "the test GPU has no products of bytes";
  }
  void TearDown() override {
    for (const std::string& message : messages_of_dots.take()) ADD_FAILURE() << "validation layer: " << message;
    GpuTest::TearDown();
  }
  static Gpu& dots() { return *dots_; }

  // A byte is off by half of a 127th of the largest of the few that share a scale; errors add up as their squares do.
  static double tolerance(const Request& request, std::uint32_t row, std::uint32_t token) {
    const TestMatrix& m = request.weights;
    double squares = 0;
    double largest = 0;
    for (std::uint32_t c = 0; c < m.columns; ++c) {
      squares += std::pow(m.values[std::size_t{row} * m.columns + c], 2);
      largest = std::max(largest, std::fabs(double{request.x[std::size_t{token} * m.columns + c]}));
    }
    return 6 * std::sqrt(squares / 3) * largest / 254 + 1e-5;
  }
  static void expect_product(const Request& request) {
    const Result result = run(dots(), request);
    expect_untouched(result, request);
    for (std::uint32_t t = request.first_token; t < request.tokens; ++t) {
      for (std::uint32_t r = request.first_row; r < request.weights.rows; ++r) {
        const auto expected = cpu::test::expected_product(request.weights, request.x, r, t);
        ASSERT_NEAR(result.at(t, r), expected.value, expected.tolerance + tolerance(request, r, t))
            << request.tokens << " tokens of " << request.most << ": row " << r << " token " << t;
      }
    }
  }

  inline static Messages messages_of_dots;

 private:
  static std::unique_ptr<Gpu> dots_;
};
std::unique_ptr<Gpu> Dots::dots_;

INSTANTIATE_TEST_SUITE_P(Formats, Dots, testing::ValuesIn(kWholeNumbers),
                         [](const auto& row) { return std::string(quant::name_of(row.param)); });

TEST_P(Dots, agree_with_the_oracle) {
  Random random(1);
  for (const std::uint32_t rows : {1U, 70U}) {
    const TestMatrix m(GetParam(), rows, 768, Style::Normal, random);
    for (const auto& [tokens, most] : {std::pair{1U, 1U}, {5U, kMostVectorRows}, {5U, 64U}, {70U, 128U}}) {
      const std::vector<float> x = cpu::test::random_activations(tokens, 768, Style::Normal, random);
      expect_product({m, nullptr, x, tokens, most});
    }
  }
}

TEST_P(Dots, compute_only_what_is_asked_for) {
  Random random(2);
  const TestMatrix m(GetParam(), 150, 256, Style::Normal, random);
  const std::vector<float> x = cpu::test::random_activations(70, 256, Style::Normal, random);
  Request request{m, nullptr, x, 70, 64};
  request.first_row = 128;
  request.first_token = 64;
  expect_product(request);
  EXPECT_EQ(run(dots(), request).at(63, 128), kUntouched);
}

// As every start checks them; and that it finds those that are wrong.
TEST_P(Dots, are_checked_against_plain_arithmetic) {
  const auto agree = [&](Gpu& gpu, std::uint32_t tokens) {
    const Buffer memory = gpu.buffer(kUnitsCheckMemory.value);
    const Place place{memory.handle(), 0, memory.address(), memory.data()};
    return integer_dots_agree(gpu.context, gpu.pipelines, gpu.timeline, place, GetParam(), std::span(&tokens, 1));
  };
  for (const std::uint32_t tokens : dots_tokens(dots().context, 128)) EXPECT_TRUE(agree(dots(), tokens)) << tokens;
  if (GetParam() != TensorType::Q4_K && GetParam() != TensorType::Q3_K) return;  // one of each way of reading
  Gpu wrong_few(dots_options(messages_of_dots, "MatvecDots"));
  EXPECT_FALSE(agree(wrong_few, 1));
  EXPECT_TRUE(agree(wrong_few, 70));
  Gpu wrong_many(dots_options(messages_of_dots, "MatmulDots"));
  EXPECT_FALSE(agree(wrong_many, 70));
  EXPECT_TRUE(agree(wrong_many, 5));
}

}  // namespace
}  // namespace loadline::vulkan::test
