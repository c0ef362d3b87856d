// Products with matrix units: the shader with the units done in loops (no device here has any) against the oracle, what
// it is made into for drivers, and the check that keeps units that are wrong from being used.
#include "backend/vulkan/matrix_units.h"

#include <bit>
#include <cmath>
#include <map>
#include <set>

#include "backend/vulkan/products.h"
#include "backend/vulkan/units_check.h"

namespace loadline::vulkan::test {
namespace {

// How far a product of float16 may be from one of float32: each side keeps eleven bits, and what is far below the
// largest of its token fewer.
struct Expected {
  double value;
  double tolerance;
};
Expected half_product(const TestMatrix& m, const std::vector<float>& x, std::uint32_t row, std::uint32_t token) {
  const auto exact = cpu::test::expected_product(m, x, row, token);
  double magnitudes = 0;
  double weights = 0;
  double inputs = 0;
  double largest = 0;
  for (std::uint32_t c = 0; c < m.columns; ++c) {
    const double w = std::fabs(m.values[row * m.columns + c]);
    const double v = std::fabs(x[token * m.columns + c]);
    magnitudes += w * v;
    weights += w;
    inputs += v;
    largest = std::max(largest, v);
  }
  return {exact.value, exact.tolerance + 0x1p-9 * magnitudes + 0x1p-23 * (largest * weights + inputs)};
}

// One of each way in which weights are read; that every format decodes rightly is product_test.cpp's affair, which has
// the same code before the multiplication.
constexpr TensorType kTypes[] = {TensorType::F16,    TensorType::Q8_0,    TensorType::Q4_K, TensorType::Q6_K,
                                 TensorType::IQ4_XS, TensorType::IQ2_XXS, TensorType::MXFP4};

TEST(UnitFormats, AreAllButThoseThatFloat16DoesNotHold) {
  for (const TensorType type : cpu::test::weight_types()) {
    EXPECT_EQ(suits_matrix_units(type), type != TensorType::F32 && type != TensorType::BF16);
  }
  for (const TensorType type : kTypes) EXPECT_TRUE(suits_matrix_units(type));
}

class UnitProducts : public GpuTest, public testing::WithParamInterface<TensorType> {
 protected:
  static void TearDownTestSuite() {
    units_.reset();
    GpuTest::TearDownTestSuite();
  }
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    if (!units_) units_ = std::make_unique<Gpu>(MatrixShape{});
    if (!units_->context.matrix_units()) GTEST_SKIP() << "the test GPU has no float16 arithmetic";
  }
  void TearDown() override {
    if (units_) {
      for (const std::string& message : units_->messages.take()) ADD_FAILURE() << "validation layer: " << message;
    }
    GpuTest::TearDown();
  }
  static Gpu& units() { return *units_; }

  static void expect_product(Gpu& gpu, const Request& request) {
    const Result result = run(gpu, request);
    expect_untouched(result, request);
    for (std::uint32_t t = request.first_token; t < request.tokens; ++t) {
      for (std::uint32_t r = request.first_row; r < request.weights.rows; ++r) {
        const Expected expected = half_product(request.weights, request.x, r, t);
        ASSERT_NEAR(result.at(t, r), expected.value, expected.tolerance) << "row " << r << " token " << t;
      }
    }
  }

 private:
  static std::unique_ptr<Gpu> units_;
};
std::unique_ptr<Gpu> UnitProducts::units_;

INSTANTIATE_TEST_SUITE_P(Formats, UnitProducts, testing::ValuesIn(kTypes),
                         [](const auto& row) { return std::string(quant::name_of(row.param)); });

TEST_P(UnitProducts, AgreeWithTheOracle) {
  Random random(1);
  const std::uint32_t block = quant::format_of(GetParam()).block_elements;
  for (const std::uint32_t rows : {1U, 70U}) {
    const TestMatrix m(GetParam(), rows, block == 1 ? 37 : 3 * block, Style::Normal, random);
    for (const auto& [tokens, most] : {std::pair{5U, 64U}, {70U, 128U}}) {
      std::vector<float> x = cpu::test::random_activations(tokens, m.columns, Style::Normal, random);
      // Tokens beyond float16's range, and far below it.
      for (std::uint32_t i = 0; i < m.columns; ++i) {
        x[m.columns + i] *= 1e6F;
        x[2 * m.columns + i] *= 1e-9F;
        x[3 * m.columns + i] = 0;
      }
      expect_product(units(), {m, nullptr, x, tokens, most});
    }
  }
}

TEST_P(UnitProducts, ComputeOnlyWhatIsAskedFor) {
  Random random(2);
  const TestMatrix m(GetParam(), 150, 256, Style::Normal, random);
  const std::vector<float> x = cpu::test::random_activations(70, 256, Style::Normal, random);
  Request request{m, nullptr, x, 70, 64};
  request.first_row = 128;
  request.first_token = 64;
  expect_product(units(), request);
  const Result result = run(units(), request);
  EXPECT_EQ(result.at(64, 127), kUntouched);
  EXPECT_EQ(result.at(63, 128), kUntouched);
}

// Of three experts every token goes to two; one has more of them than a tile holds, another few.
TEST_P(UnitProducts, MultiplyEachExpertWithTheTokensThatChoseIt) {
  Random random(7);
  constexpr std::uint32_t kExperts = 3, kUsed = 2, kRows = 70, kTokens = 90, kTiles = 6;
  const TestMatrix m(GetParam(), kExperts * kRows, 256, Style::Normal, random);
  const std::vector<float> x = cpu::test::random_activations(kTokens, 256, Style::Normal, random);
  const std::vector<float> bias = cpu::test::random_activations(kExperts, kRows, Style::Normal, random);
  std::vector<std::uint32_t> chosen;
  const std::uint32_t one = std::bit_cast<std::uint32_t>(1.0F);
  for (std::uint32_t t = 0; t < kTokens; ++t) {
    const std::uint32_t other = t % 7 == 0 ? 1 : 2;
    for (const std::uint32_t expert : {t % 2 == 0 ? 0 : other, t % 2 == 0 ? other : 0}) {
      chosen.insert(chosen.end(), {expert, one});
    }
  }
  for (Gpu* const gpu : {&units(), &UnitProducts::gpu()}) {
    const Buffer weights = gpu->buffer(m.file);
    const Buffer inputs = gpu->buffer(x);
    const Buffer added = gpu->buffer(bias);
    const Buffer routes = gpu->buffer(chosen);
    const Buffer groups = gpu->buffer((4 + 3 * kTiles + 2 * kTokens * kUsed) * sizeof(std::uint32_t), 0xFF);
    const Buffer out = gpu->buffer(std::vector<float>(std::size_t{kTokens} * kUsed * kRows, kUntouched));
    const Buffer table = gpu->buffer(std::vector<std::uint32_t>{kTokens, 0});
    ProductArguments arguments{weights.address(), 0, inputs.address(), 0, added.address(), out.address(),
                               table.address()};
    arguments.columns = m.columns;
    arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(m.type, m.columns).value);
    arguments.end_row = kRows;
    arguments.result_stride = kRows;
    arguments.groups = groups.address();
    arguments.expert_bytes = std::uint64_t{kRows} * arguments.row_bytes;
    arguments.used = kUsed;
    arguments.bias_stride = kRows;
    gpu->run([&](CommandList& list) {
      gpu->operations.group_experts(list,
                                    {routes.address(), groups.address(), table.address(), kExperts, kUsed, kTiles, 0});
      list.barrier();
      for (arguments.first_token = 0; arguments.first_token < kTiles; arguments.first_token += 2) {
        gpu->operations.grouped_product(list, m.type, arguments, 2);
      }
    });
    for (std::uint32_t pair = 0; pair < kTokens * kUsed; ++pair) {
      const std::uint32_t expert = chosen[2 * pair];
      for (std::uint32_t r = 0; r < kRows; ++r) {
        const Expected expected = half_product(m, x, expert * kRows + r, pair / kUsed);
        ASSERT_NEAR(as<float>(out)[pair * kRows + r], expected.value + bias[expert * kRows + r],
                    expected.tolerance + 1e-5)
            << "pair " << pair << " row " << r;
      }
    }
  }
}

TEST_P(UnitProducts, AddBiasAndGateOneProductWithAnother) {
  Random random(3);
  const TestMatrix gate(GetParam(), 45, 256, Style::Normal, random);
  const TestMatrix up(GetParam(), 45, 256, Style::Normal, random);
  const std::vector<float> x = cpu::test::random_activations(20, 256, Style::Normal, random);
  const std::vector<float> bias = cpu::test::random_activations(1, 45, Style::Normal, random);
  Request added{gate, nullptr, x, 20, 64, kAccumulate | kSelected};
  added.bias = bias;
  added.prior = 2.5F;
  const Result sums = run(units(), added);
  expect_untouched(sums, added);
  const Request gated{gate, &up, x, 20, 64, kGated | function_flag(model::Activation::Silu)};
  const Result products = run(units(), gated);
  expect_untouched(products, gated);
  for (std::uint32_t t = 0; t < 20; ++t) {
    for (std::uint32_t r = 0; r < 45; ++r) {
      const Expected a = half_product(gate, x, r, t);
      const Expected b = half_product(up, x, r, t);
      ASSERT_NEAR(sums.at(t, r), a.value + bias[r] + 2.5, a.tolerance + 1e-5);
      const double tolerance =
          std::fabs(a.value) * b.tolerance + std::fabs(b.value) * a.tolerance * 1.1 + a.tolerance * b.tolerance + 1e-5;
      ASSERT_NEAR(products.at(t, r), silu(a.value) * b.value, tolerance) << "row " << r << " token " << t;
    }
  }
}

TEST_P(UnitProducts, AreCheckedAgainstPlainArithmetic) {
  const Buffer memory = units().buffer(kUnitsCheckMemory.value);
  const Place place{memory.handle(), 0, memory.address(), memory.data()};
  EXPECT_TRUE(matrix_units_agree(units().context, units().pipelines, units().timeline, place, GetParam(),
                                 units().codebooks.address()));
}

class UnitShapes : public UnitProducts {};
INSTANTIATE_TEST_SUITE_P(OneFormat, UnitShapes, testing::Values(TensorType::Q8_0));

TEST_P(UnitShapes, MayBeAnyThatDividesThirtyTwo) {
  Random random(4);
  const TestMatrix m(GetParam(), 100, 256, Style::Normal, random);
  const std::vector<float> x = cpu::test::random_activations(70, 256, Style::Normal, random);
  for (const MatrixShape shape : {MatrixShape{8, 16, 16}, {32, 8, 8}, {8, 4, 4}}) {
    Gpu gpu(shape);
    expect_product(gpu, {m, nullptr, x, 70, 128});
    EXPECT_EQ(gpu.messages.take(), std::vector<std::string>());
  }
}

TEST_P(UnitShapes, ThatAreWrongAreFoundOut) {
  // A step of 24 columns reads what does not belong to it; rows of 12 leave some out.
  for (const MatrixShape shape : {MatrixShape{16, 16, 24}, {12, 16, 16}}) {
    Gpu gpu(shape);
    const Buffer memory = gpu.buffer(kUnitsCheckMemory.value);
    const Place place{memory.handle(), 0, memory.address(), memory.data()};
    EXPECT_FALSE(
        matrix_units_agree(gpu.context, gpu.pipelines, gpu.timeline, place, GetParam(), gpu.codebooks.address()));
  }
}

// SPIR-V, as far as the tests look at it.
struct Module {
  explicit Module(std::span<const std::uint32_t> words) {
    bound = words[3];
    for (std::size_t at = 5; at < words.size(); at += words[at] >> 16) {
      instructions.emplace_back(words.begin() + static_cast<std::ptrdiff_t>(at),
                                words.begin() + static_cast<std::ptrdiff_t>(at + (words[at] >> 16)));
    }
  }
  [[nodiscard]] std::vector<std::vector<std::uint32_t>> all(std::uint32_t code) const {
    std::vector<std::vector<std::uint32_t>> found;
    for (const auto& words : instructions) {
      if ((words[0] & 0xFFFFU) == code) found.push_back(words);
    }
    return found;
  }
  // The value of a number of 32 bits, by its id.
  [[nodiscard]] std::uint32_t constant(std::uint32_t id) const {
    for (const auto& words : all(43)) {
      if (words[2] == id) return words[3];
    }
    ADD_FAILURE() << id << " is no constant";
    return 99;
  }
  std::uint32_t bound = 0;
  std::vector<std::vector<std::uint32_t>> instructions;
};

// Rows and columns of a matrix's layout and what it is for: as SPV_KHR_cooperative_matrix wants it, word for word.
TEST_P(UnitProducts, BecomeWhatDriversHave) {
  const auto nv = shader_code(Shader::MatmulUnits, GetParam()).words;
  const std::vector<std::uint32_t> khr = with_khr_matrices(nv);
  const Module before(nv);
  const Module after(khr);
  for (std::uint32_t code = 5358; code <= 5362; ++code) EXPECT_TRUE(after.all(code).empty()) << code;
  std::set<std::uint32_t> capabilities;
  for (const auto& words : after.all(17)) capabilities.insert(words[1]);
  EXPECT_TRUE(capabilities.contains(6022));
  EXPECT_TRUE(capabilities.contains(5345)) << "the extension asks for the Vulkan memory model";
  EXPECT_FALSE(capabilities.contains(5357));
  std::set<std::string> extensions;
  for (const auto& words : after.all(10)) extensions.insert(reinterpret_cast<const char*>(words.data() + 1));
  EXPECT_TRUE(extensions.contains("SPV_KHR_cooperative_matrix"));
  EXPECT_FALSE(extensions.contains("SPV_NV_cooperative_matrix"));

  // Each id is defined once, before it is used as a type.
  std::map<std::uint32_t, std::uint32_t> uses;
  for (const auto& words : after.all(4456)) {
    ASSERT_EQ(words.size(), 7U);
    EXPECT_EQ(after.constant(words[3]), 3U) << "of a subgroup";
    uses[words[1]] = after.constant(words[6]);
  }
  ASSERT_EQ(uses.size(), 3U);
  std::map<std::uint32_t, std::uint32_t> types;
  for (const auto& words : after.all(61)) types[words[2]] = words[1];
  std::map<std::uint32_t, std::uint32_t> layouts;  // by use
  for (const auto& words : after.all(4457)) {
    ASSERT_GE(words.size(), 6U);
    types[words[2]] = words[1];
    layouts[uses.at(words[1])] = after.constant(words[4]);
    EXPECT_EQ(after.constant(words[5]), 40U) << "elements between rows";
  }
  EXPECT_EQ(layouts, (std::map<std::uint32_t, std::uint32_t>{{0, 0}, {1, 1}}));
  ASSERT_FALSE(after.all(4459).empty());
  for (const auto& words : after.all(4459)) {
    ASSERT_EQ(words.size(), 6U);
    EXPECT_EQ(uses.at(words[1]), 2U);
    for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(uses.at(types.at(words[3 + i])), i);
  }
  ASSERT_FALSE(after.all(4458).empty());
  for (const auto& words : after.all(4458)) {
    EXPECT_EQ(after.constant(words[3]), 1U);
    EXPECT_EQ(after.constant(words[4]), 64U);
  }
  EXPECT_EQ(after.bound, before.bound + 3);
  // All else is as it was.
  EXPECT_EQ(after.instructions.size(), before.instructions.size() + 3);
  const auto others = [](const Module& module) {
    std::vector<std::vector<std::uint32_t>> rest;
    for (const auto& words : module.instructions) {
      const std::uint32_t code = words[0] & 0xFFFFU;
      const bool ours = (code >= 5358 && code <= 5362) || (code >= 4456 && code <= 4460) || code == 10 || code == 17;
      const bool added = code == 43 && words[2] >= module.bound - 3;
      if (!ours && !added) rest.push_back(words);
    }
    return rest;
  };
  EXPECT_EQ(others(after), others(before));
}

TEST(KhrMatrices, LeaveAloneWhatIsNotAProgramOfOurs) {
  const std::vector<std::uint32_t> plain(shader_code(Shader::Heads, std::nullopt).words.begin(),
                                         shader_code(Shader::Heads, std::nullopt).words.end());
  const Module after(with_khr_matrices(plain));
  EXPECT_EQ(after.instructions, Module(plain).instructions);
  for (std::vector<std::uint32_t> words : {std::vector<std::uint32_t>{},
                                           {1, 2, 3},
                                           {0x07230203, 0, 0, 9, 0, 0},
                                           {0x07230203, 0, 0, 9, 0, 0x00050011, 1}}) {
    EXPECT_EQ(with_khr_matrices(words), words);
  }
}

}  // namespace
}  // namespace loadline::vulkan::test
