// The GPU's lowering, without a GPU: what a part of a program becomes, that nothing of it is left out, and what is
// refused by name.
#include "backend/vulkan/lower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "plan/models.h"
#include "support/refusal.h"

namespace loadline::vulkan {
namespace {

using model::Op;
using model::OpKind;
using ::testing::HasSubstr;
namespace ops = model::ops;

constexpr std::uint32_t kAttention = 1, kFeedForward = 2;  // groups

class Lower : public ::testing::Test {
 protected:
  Lower() { shape_.context = 64; }

  Recipe lower(std::uint32_t group) { return vulkan::lower({model_, program_, shape_}, {group}); }
  std::vector<Op>& ops_of(std::uint32_t group) { return program_.groups.at(group).ops; }
  std::string refused(std::uint32_t group) {
    return loadline::test::refusal([&] { return lower(group); }).sentence;
  }

  static std::string kinds(const Recipe& recipe) {
    std::string all;
    struct Visitor {
      std::string operator()(const recipe::Embed&) const { return "embed"; }
      std::string operator()(const recipe::Select&) const { return "select"; }
      std::string operator()(const recipe::Norm&) const { return "norm"; }
      std::string operator()(const recipe::Linear& step) const { return step.norm ? "norm+linear" : "linear"; }
      std::string operator()(const recipe::Gated& step) const { return step.norm ? "norm+gated" : "gated"; }
      std::string operator()(const recipe::Rope&) const { return "rope"; }
      std::string operator()(const recipe::Attention& step) const { return step.rope ? "rope+attention" : "attention"; }
      std::string operator()(const recipe::Map&) const { return "map"; }
      std::string operator()(const recipe::Split&) const { return "split"; }
      std::string operator()(const recipe::Route&) const { return "route"; }
      std::string operator()(const recipe::Experts&) const { return "experts"; }
      std::string operator()(const recipe::HeadLinear&) const { return "head_linear"; }
      std::string operator()(const recipe::Convolution&) const { return "convolution"; }
      std::string operator()(const recipe::DeltaNet&) const { return "delta_net"; }
      std::string operator()(const recipe::StateSpace&) const { return "state_space"; }
    };
    for (const Step& step : recipe.steps) {
      if (!all.empty()) all += ' ';
      all += std::visit(Visitor(), step.what);
    }
    return all;
  }

  gguf::Model model_ =
      loadline::test::make_model(loadline::test::tiny(), loadline::test::all_of(quant::TensorType::Q8_0));
  model::Program program_ = model::build_program(model_);
  plan::Shape shape_;
};

TEST_F(Lower, MergesNormsWithProductsAndRopeWithAttention) {
  EXPECT_EQ(kinds(lower(0)), "embed");
  EXPECT_EQ(kinds(lower(kAttention)), "norm+linear rope+attention linear");
  EXPECT_EQ(kinds(lower(kFeedForward)), "norm+gated linear");
}

TEST_F(Lower, KeepsANormApartWhoseResultOthersReadToo) {
  std::vector<Op>& ops = ops_of(kFeedForward);
  const model::ValueId normed = ops[0].outputs[0];
  ops.emplace_back(ops::Add{}, std::vector{model::kHidden, normed}, std::vector{model::kHidden});
  EXPECT_EQ(kinds(lower(kFeedForward)), "norm gated linear map");
}

TEST_F(Lower, DropsNoNormBeforeANormNorOneThatNothingFollows) {
  std::vector<Op>& ops = ops_of(kFeedForward);
  const Op norm = ops[0];
  ops.insert(ops.begin(), norm);
  EXPECT_EQ(kinds(lower(kFeedForward)), "norm norm+gated linear");
  ops.push_back(norm);
  EXPECT_EQ(kinds(lower(kFeedForward)), "norm norm+gated linear norm");
}

TEST_F(Lower, TurnsHeadsOnlyWhereTheProgramSaysSo) {
  std::vector<Op>& ops = ops_of(kAttention);
  ops.erase(std::ranges::find(ops, OpKind::Rope, &Op::kind));
  EXPECT_EQ(kinds(lower(kAttention)), "norm+linear attention linear");
}

TEST_F(Lower, TurnsHeadsApartFromAnAttentionThatTurnsOthers) {
  std::vector<Op>& ops = ops_of(kAttention);
  const auto rope = std::ranges::find(ops, OpKind::Rope, &Op::kind);
  rope->inputs.pop_back();
  rope->outputs.pop_back();
  EXPECT_EQ(kinds(lower(kAttention)), "norm+linear rope attention linear");
}

// A product that normalises on the way reads what the norm reads: its bytes are nobody else's until then.
TEST_F(Lower, KeepsTheInputOfANormUntilTheProductThatItGoesWith) {
  const auto other = static_cast<model::ValueId>(program_.values.size());
  program_.values.push_back({"other", program_.values[model::kHidden].width});
  ops_of(kAttention)[0].inputs[0] = other;
  const Recipe recipe = lower(kAttention);
  const auto need = std::ranges::find(recipe.needs.buffers, other, &plan::BufferNeed::slot);
  ASSERT_NE(need, recipe.needs.buffers.end());
  EXPECT_EQ(need->first, 0U);
  EXPECT_EQ(need->last, 1U) << "the product's step";
}

TEST_F(Lower, RefusesWhatDoesNotFitItsValuesByName) {
  ops_of(kFeedForward).emplace_back(ops::Convolution{}, std::vector{model::kHidden}, std::vector{model::kHidden});
  EXPECT_THAT(refused(kFeedForward),
              ::testing::AllOf(HasSubstr("a GPU"), HasSubstr("convolution"), HasSubstr("blk.0.ffn")));
}

TEST_F(Lower, RefusesInputsThatNothingUses) {
  ops_of(kFeedForward).back().inputs.push_back(model::kHidden);
  EXPECT_THAT(refused(kFeedForward), HasSubstr("input"));
}

TEST_F(Lower, KeepsANormApartWhoseResultLivesAcrossGroups) {
  program_.values[ops_of(kAttention)[0].outputs[0]].carried = true;
  EXPECT_EQ(kinds(lower(kAttention)), "norm linear rope+attention linear");
}

}  // namespace
}  // namespace loadline::vulkan
