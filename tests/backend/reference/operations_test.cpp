// The oracle's operations one at a time, against sums done by hand or in another way.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <numeric>

#include "backend/reference/reference.h"
#include "gguf/writer.h"
#include "support/test_data.h"

namespace loadline::reference {
namespace {

using model::Op;
namespace ops = model::ops;

// Programs over a table whose row t is the input of token t; the last value is what comes out, as "logits".
class Operations : public testing::Test {
 protected:
  struct Tensor {
    std::vector<std::uint64_t> shape;
    std::vector<float> values;
  };

  // Tensor 0 is the table.
  std::vector<float> run(const std::vector<std::vector<float>>& rows, std::vector<Tensor> tensors,
                         std::vector<std::uint32_t> widths, std::vector<Op> operations,
                         std::vector<model::Cache> caches = {}) {
    Tensor table{{rows.front().size(), rows.size()}, {}};
    for (const auto& row : rows) table.values.insert(table.values.end(), row.begin(), row.end());
    tensors.insert(tensors.begin(), table);
    std::vector<gguf::NewTensor> list;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      list.push_back({"t" + std::to_string(i), quant::TensorType::F32, tensors[i].shape});
    }
    const auto path = folder_.path() / "model.gguf";
    gguf::Writer writer(path, {}, list);
    for (const Tensor& tensor : tensors) writer.append(std::as_bytes(std::span(tensor.values)));
    writer.finish();
    const gguf::Model model = gguf::open_model(path);
    model::Program program;
    program.caches = std::move(caches);
    widths.insert(widths.begin(), static_cast<std::uint32_t>(rows.front().size()));
    for (const std::uint32_t width : widths) program.values.push_back({"value", width});
    program.logits = static_cast<model::ValueId>(widths.size() - 1);
    program.groups.push_back({model::GroupKind::Embedding, 0, {Op(ops::Embed{.table = 0}, {}, {0})}});
    program.groups.push_back({model::GroupKind::Output, 0, std::move(operations)});
    std::vector<std::int32_t> tokens(rows.size());
    std::iota(tokens.begin(), tokens.end(), 0);
    return logits(model, program, tokens);
  }

  static void expect_near(const std::vector<float>& actual, const std::vector<float>& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-5F) << i;
  }

 private:
  test::TemporaryFolder folder_;
};

TEST_F(Operations, LayerNormTakesTheMeanOffAndAddsTheBias) {
  const ops::Norm norm{.kind = ops::NormKind::Layer, .part = 2, .weight = 1, .bias = 2};
  expect_near(run({{1, 3}}, {{{2}, {2, 2}}, {{2}, {0.5F, 0}}}, {2}, {Op(norm, {0}, {1})}), {-1.5F, 2});
}

TEST_F(Operations, ANormOfPartsHasTheSameWeightsForEachOrItsOwn) {
  ops::Norm norm{.part = 2, .parts = 2, .weight = 1};
  const float r = std::sqrt(2.0F);
  expect_near(run({{2, 0, 0, 3}}, {{{2}, {1, 2}}}, {4}, {Op(norm, {0}, {1})}), {r, 0, 0, 2 * r});
  norm.weight_per_part = true;
  expect_near(run({{2, 0, 0, 3}}, {{{2, 2}, {1, 2, 3, 4}}}, {4}, {Op(norm, {0}, {1})}), {r, 0, 0, 4 * r});
}

TEST_F(Operations, ALinearPartTakesItsRowsItsScaleAndItsBias) {
  ops::LinearPart part{.tensor = 1, .first_row = 1, .rows = 1, .bias = 2, .scale = 3, .whole = false};
  expect_near(run({{1, 2}}, {{{2, 3}, {9, 9, 3, 4, 9, 9}}, {{3}, {9, 0.5F, 9}}, {{1}, {2}}}, {1},
                  {Op(ops::Linear{{part}}, {0}, {1})}),
              {22.5F});
}

TEST_F(Operations, AHeadLinearTurnedRoundIsTheTransposedProduct) {
  // One head of two values and one that is copied; the matrix has the rows (1 2 3) and (4 5 6).
  const ops::HeadLinear op{
      .tensor = 1, .heads = 1, .columns = 2, .rows = 3, .copied = 1, .head_rows = 2, .transposed = true};
  expect_near(run({{1, 10, 7}}, {{{3, 2}, {1, 2, 3, 4, 5, 6}}}, {4}, {Op(op, {0}, {1})}), {41, 52, 63, 7});
}

// Keys and queries are zero, so that every cell that is seen weighs the same.
std::vector<Op> attention(const std::function<void(ops::Attention&)>& change = {}) {
  ops::Attention op;
  if (change) change(op);
  op.heads = op.kv_heads = op.head_dim_k = op.head_dim_v = 1;
  return {Op(ops::Split{1, {1, 1, 1}}, {0}, {1, 2, 3}), Op(op, {1, 2, 3}, {4})};
}

TEST_F(Operations, AttentionSeesItsWindowOrItsChunk) {
  const std::vector<std::vector<float>> rows = {{0, 0, 1}, {0, 0, 3}, {0, 0, 8}, {0, 0, 4}};
  const std::vector<std::uint32_t> widths = {1, 1, 1, 1};
  expect_near(run(rows, {}, widths, attention(), {{}}), {1, 2, 4, 4});
  expect_near(run(rows, {}, widths, attention([](auto& op) { op.window = 2; }), {{}}), {1, 2, 5.5F, 6});
  expect_near(run(rows, {}, widths, attention([](auto& op) { op.chunk = 2; }), {{}}), {1, 2, 8, 6});
}

TEST_F(Operations, ASinkTakesItsShareOfTheWeights) {
  expect_near(run({{0, 0, 3}}, {{{1}, {0}}}, {1, 1, 1, 1}, attention([](auto& op) { op.sinks = 1; }), {{}}), {1.5F});
}

TEST_F(Operations, AlibiTakesOffTheDistanceTimesTheSlope) {
  // One head and a largest bias of 1: a slope of 1/2.
  const float far = std::exp(-0.5F);
  expect_near(run({{0, 0, 1}, {0, 0, 2}}, {}, {1, 1, 1, 1}, attention([](auto& op) { op.alibi = 1; }), {{}}),
              {1, (far * 1 + 2) / (far + 1)});
}

TEST_F(Operations, ScoresAreCappedAndGrowWithTheTemperature) {
  // One token sees cells of scores 0 and s, values 0 and 1: the result is sigmoid(s).
  const auto sigmoid = [](float x) { return 1 / (1 + std::exp(-x)); };
  const std::vector<std::vector<float>> rows = {{0, 0, 0}, {2, 1, 1}};
  const std::vector<std::uint32_t> widths = {1, 1, 1, 1};
  expect_near(run(rows, {}, widths, attention([](auto& op) { op.scale = 0.5F; }), {{}}), {0, sigmoid(1)});
  expect_near(run(rows, {}, widths, attention([](auto& op) { op.softcap = 2; }), {{}}),
              {0, sigmoid(2 * std::tanh(1.0F))});
  expect_near(run(rows, {}, widths, attention([](auto& op) { op.temperature.scale = 3; }), {{}}),
              {0, sigmoid(2 * (1 + 3 * std::log(2.0F)))});
}

std::pair<std::int32_t, float> pair_of(const std::vector<float>& route, std::size_t index) {
  std::int32_t expert = 0;
  std::memcpy(&expert, &route[2 * index], sizeof expert);
  return {expert, route[2 * index + 1]};
}

TEST_F(Operations, ARouteChoosesByTheBiasAndWeighsWithoutIt) {
  ops::Route op{
      .experts = 3, .used = 2, .gating = ops::Gating::Sigmoid, .choice_bias = 1, .normalize = true, .scale = 2};
  const auto route = run({{0, 0, 1}}, {{{3}, {5, 0, -9}}}, {4}, {Op(op, {0}, {1})});
  EXPECT_EQ(pair_of(route, 0).first, 0);
  EXPECT_EQ(pair_of(route, 1).first, 1);
  EXPECT_NEAR(pair_of(route, 0).second, 1.0F, 1e-6F);  // halves of the scale
}

TEST_F(Operations, ARouteWithGroupsKeepsToTheBestOnes) {
  // The best single expert (9) lies in a group whose two best are together worse than those of the other.
  ops::Route op{.experts = 4, .used = 2, .gating = ops::Gating::SoftmaxOfChosen, .groups = 2, .groups_used = 1};
  const auto route = run({{9, -9, 5, 4}}, {}, {4}, {Op(op, {0}, {1})});
  EXPECT_EQ(pair_of(route, 0).first, 2);
  EXPECT_EQ(pair_of(route, 1).first, 3);
  EXPECT_NEAR(pair_of(route, 0).second, 1 / (1 + std::exp(-1.0F)), 1e-6F);
}

TEST_F(Operations, ExpertsAddUpWhatTheChosenOnesMake) {
  // Two experts of one value: up is 2 and 3, down 1 and 10, ungated relu squared; the router chooses the second.
  ops::Route route{.experts = 2, .used = 1, .normalize = true};
  ops::Experts experts;
  experts.experts = 2;
  experts.used = 1;
  experts.activation = model::Activation::ReluSquared;
  experts.up = {.tensor = 1, .rows = 1};
  experts.down = {.tensor = 2, .rows = 1};
  const std::vector<Op> operations = {Op(ops::Split{1, {1, 2}}, {0}, {1, 2}), Op(route, {2}, {3}),
                                      Op(experts, {1, 3}, {4})};
  expect_near(run({{2, 0, 1}}, {{{1, 1, 2}, {2, 3}}, {{1, 1, 2}, {1, 10}}}, {1, 2, 2, 1}, operations), {360});
}

TEST_F(Operations, AConvolutionLooksBackAsFarAsItHasTaps) {
  const ops::Convolution op{.taps = 3, .weight = 1, .bias = 2};
  expect_near(run({{1}, {2}, {3}, {4}}, {{{3, 1}, {100, 10, 1}}, {{1}, {0.5F}}}, {1}, {Op(op, {0}, {1})}, {{}}),
              {1.5F, 12.5F, 123.5F, 234.5F});
}

TEST_F(Operations, ADeltaNetLearnsAndForgets) {
  // Size 1, so q and k are of length one. beta = 1/2 (b = 0), and the state halves at each token: softplus(a) = ln 2.
  const ops::DeltaNet op{.key_heads = 1, .value_heads = 1, .size = 1, .epsilon = 1e-6F, .dt_bias = 1, .decay = 2};
  const std::vector<Op> operations = {Op(ops::Split{1, {3, 1, 1}}, {0}, {1, 2, 3}), Op(op, {1, 2, 3}, {4})};
  // M: 0 -> 4 = (8 - 0) / 2 -> 2 + (8 - 2) / 2 = 5
  expect_near(run({{1, 1, 8, 0, 0}, {1, 1, 8, 0, 0}}, {{{1}, {0}}, {{1}, {-1}}}, {3, 1, 1, 1}, operations, {{}}),
              {4, 5});
}

TEST_F(Operations, AStateSpaceScanAddsUpAndFades) {
  // dt = softplus(0) = ln 2, exp(dt a) = 1/2, B = C = 1, D = 1.
  const ops::StateSpace op{.inner = 1, .state = 1, .heads = 1, .groups = 1, .dt_bias = 1, .a = 2, .d = 3};
  const std::vector<Op> operations = {Op(ops::Split{1, {3, 1}}, {0}, {1, 2}), Op(op, {1, 2}, {3})};
  const float step = std::log(2.0F);
  expect_near(
      run({{4, 1, 1, 0}, {2, 1, 1, 0}}, {{{1}, {0}}, {{1, 1}, {-1}}, {{1, 1}, {1}}}, {3, 1, 1}, operations, {{}}),
      {4 * step + 4, 2 * step + 2 * step + 2});
}

TEST_F(Operations, OneValueMultipliesAWholeRow) {
  const std::vector<Op> operations = {Op(ops::Split{1, {2, 1}}, {0}, {1, 2}),
                                      Op(ops::Multiply{model::Activation::Sigmoid}, {1, 2}, {3})};
  expect_near(run({{4, 6, 0}}, {}, {2, 1, 2}, operations), {2, 3});
}

TEST_F(Operations, ClampedSwigluIsClampedOnBothSides) {
  const ops::LinearPart gate{.tensor = 1, .rows = 1};
  const ops::LinearPart up{.tensor = 2, .rows = 1};
  const ops::GatedLinear op{{gate, up}, model::Activation::ClampedSwiglu};
  // gate 100 -> 7, up -100 -> -7: 7 sigmoid(11.9) (-6)
  expect_near(run({{1}}, {{{1, 1}, {100}}, {{1, 1}, {-100}}}, {1}, {Op(op, {0}, {1})}),
              {-42.0F / (1 + std::exp(-1.702F * 7))});
}

}  // namespace
}  // namespace loadline::reference
