// The CPU's lowering: what a part of a program becomes, that nothing of it is left out, and what is refused by name.
#include "backend/cpu/lower.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "plan/models.h"
#include "quant/matrix_workspace.h"
#include "support/refusal.h"

namespace loadline::cpu {
namespace {

using model::Op;
using model::OpKind;
using quant::ActivationKind;
using quant::TensorType;
using ::testing::HasSubstr;
namespace ops = model::ops;

class Lower : public ::testing::Test {
 protected:
  Lower() { shape_.context = 64; }

  Recipe lower(std::uint32_t group) { return cpu::lower({model_, program_, shape_}, {group}); }
  std::vector<Op>& ops(std::size_t group) { return program_.groups.at(group).ops; }
  std::vector<Op>::iterator find(std::size_t group, OpKind kind) {
    return std::ranges::find(ops(group), kind, &Op::kind);
  }
  // What lowering the group is refused with.
  std::string refused(std::uint32_t group) {
    return loadline::test::refusal([&] { return lower(group); }, ErrorCode::BadInput).sentence;
  }

  // The kinds of the steps, in order: what the processor will do.
  static std::string kinds(const Recipe& recipe) {
    std::vector<std::string> names;
    struct Visitor {
      std::string operator()(const recipe::Embed&) const { return "embed"; }
      std::string operator()(const recipe::Select&) const { return "select"; }
      std::string operator()(const recipe::Prepare& step) const {
        return step.norm != model::kNoTensor ? "norm+prepare" : step.merge ? "merge+prepare" : "prepare";
      }
      std::string operator()(const recipe::Heads&) const { return "heads"; }
      std::string operator()(const recipe::Attend&) const { return "attend"; }
      std::string operator()(const recipe::Linear& step) const {
        return fmt::format("linear{}{}", step.products.size(), step.accumulate ? "+add" : "");
      }
      std::string operator()(const recipe::Gated& step) const { return step.second ? "up" : "gate"; }
      std::string operator()(const recipe::Norm&) const { return "norm"; }
      std::string operator()(const recipe::Rope&) const { return "rope"; }
      std::string operator()(const recipe::Map&) const { return "map"; }
      std::string operator()(const recipe::Split&) const { return "split"; }
      std::string operator()(const recipe::Route&) const { return "route"; }
      std::string operator()(const recipe::ExpertsPhase&) const { return "experts"; }
      std::string operator()(const recipe::HeadLinear&) const { return "head_linear"; }
      std::string operator()(const recipe::Convolution&) const { return "convolution"; }
      std::string operator()(const recipe::DeltaNet&) const { return "delta_net"; }
      std::string operator()(const recipe::StateSpace&) const { return "state_space"; }
    };
    for (const recipe::Step& step : recipe.steps) names.push_back(std::visit(Visitor{}, step));
    return fmt::format("{}", fmt::join(names, " "));
  }

  gguf::Model model_ = test::make_model(test::tiny(), test::all_of(TensorType::Q8_0));
  model::Program program_ = model::build_program(model_);
  plan::Shape shape_;
};

// Gemma 4 makes the inputs of all layers together.
TEST_F(Lower, splits_a_row_into_as_many_parts_as_a_model_has_layers) {
  const auto whole = static_cast<model::ValueId>(program_.values.size());
  program_.values.push_back({"whole", 80});
  std::vector<model::ValueId> parts;
  for (int i = 0; i < 40; ++i) {
    parts.push_back(static_cast<model::ValueId>(program_.values.size()));
    program_.values.push_back({fmt::format("part {}", i), 2});
  }
  ops(2).emplace_back(ops::Split{1, std::vector<std::uint32_t>(40, 2)}, std::vector{whole}, parts);
  EXPECT_THAT(kinds(lower(2)), ::testing::EndsWith("split"));
}

TEST_F(Lower, merges_a_layer_into_as_few_steps_as_before) {
  EXPECT_EQ(kinds(lower(0)), "embed");
  EXPECT_EQ(kinds(lower(1)), "norm+prepare linear3 heads attend merge+prepare linear1+add");
  EXPECT_EQ(kinds(lower(2)), "norm+prepare gate up prepare linear1+add");
  // The last feed-forward keeps the rows that logits are wanted for.
  EXPECT_EQ(kinds(lower(4)), "select norm+prepare gate up prepare linear1+add");
  EXPECT_EQ(kinds(lower(5)), "norm+prepare linear1");
}

// A norm of heads of the width 64, in place.
Op head_norm(model::ValueId value, std::uint32_t heads, model::TensorIndex weight) {
  return Op(ops::Norm{.epsilon = 1e-5F, .part = 64, .parts = heads, .weight = weight}, {value}, {value});
}
// The operation with other attributes.
template <class Kind, class Change>
Op changed(const Op& op, Change change) {
  Kind attributes = op.as<Kind>();
  change(attributes);
  Op made(std::move(attributes), op.inputs, op.outputs);
  made.after_select = op.after_select;
  return made;
}

TEST_F(Lower, tells_the_norms_of_heads_by_the_value_they_are_of) {
  const auto attention = find(1, OpKind::Attention);
  const model::ValueId q = attention->inputs[0];
  const model::ValueId k = attention->inputs[1];
  const Op both[] = {head_norm(k, 2, 1), head_norm(q, 4, 6)};  // k's first
  ops(1).insert(ops(1).begin() + 2, std::begin(both), std::end(both));
  const Recipe recipe = lower(1);
  EXPECT_EQ(recipe.attentions.at(0).q_norm, 6);
  EXPECT_EQ(recipe.attentions.at(0).k_norm, 1);
}

TEST_F(Lower, leaves_out_rope_where_the_program_does) {
  EXPECT_TRUE(lower(1).attentions.at(0).rope.has_value());
  std::erase_if(ops(1), [](const Op& op) { return op.kind == OpKind::Rope; });
  EXPECT_FALSE(lower(1).attentions.at(0).rope.has_value());
}

TEST_F(Lower, has_a_step_more_where_one_has_no_room_for_all_products) {
  Op& linear = ops(1).at(1);
  linear = changed<ops::Linear>(linear, [](ops::Linear& l) { l.parts.push_back(l.parts.front()); });
  linear.outputs.push_back(linear.outputs.front());
  EXPECT_EQ(kinds(lower(1)), "norm+prepare linear3 linear1 heads attend merge+prepare linear1+add");
}

TEST_F(Lower, makes_a_step_of_a_norm_that_no_product_takes_along) {
  const std::vector<Op> before = ops(2);
  ops(2).insert(ops(2).begin(), ops(2).front());
  EXPECT_EQ(kinds(lower(2)), "norm norm+prepare gate up prepare linear1+add");
  ops(2) = before;
  ops(2).at(1).inputs = {model::kHidden};
  EXPECT_EQ(kinds(lower(2)), "norm prepare gate up prepare linear1+add");
  ops(2).erase(ops(2).begin() + 1, ops(2).end());
  EXPECT_EQ(kinds(lower(2)), "norm");
}

TEST_F(Lower, makes_steps_of_what_heads_pass_through_where_no_attention_takes_it_along) {
  const std::vector<Op> before = ops(1);
  const model::ValueId q = find(1, OpKind::Attention)->inputs[0];
  // Rope of q alone.
  find(1, OpKind::Rope)->inputs.pop_back();
  find(1, OpKind::Rope)->outputs.pop_back();
  EXPECT_EQ(kinds(lower(1)), "norm+prepare linear3 rope heads attend merge+prepare linear1+add");
  // A norm after rope.
  ops(1) = before;
  ops(1).insert(find(1, OpKind::Attention), head_norm(q, 4, 6));
  EXPECT_EQ(kinds(lower(1)), "norm+prepare linear3 rope rope heads attend merge+prepare linear1+add");
  EXPECT_EQ(lower(1).attentions.at(0).q_norm, 6);
  // Of half of the heads.
  ops(1) = before;
  ops(1).insert(ops(1).begin() + 2, head_norm(q, 2, 6));
  EXPECT_EQ(kinds(lower(1)), "norm+prepare linear3 norm heads attend merge+prepare linear1+add");
  // Nothing attends.
  ops(1) = before;
  std::erase_if(ops(1), [](const Op& op) { return op.kind == OpKind::Attention; });
  EXPECT_EQ(kinds(lower(1)), "norm+prepare linear3 rope rope prepare linear1+add");
}

TEST_F(Lower, finishes_an_attention_before_anything_but_a_product_reads_it) {
  shape_.context = 4096;
  const auto attention = find(1, OpKind::Attention);
  const Op norm(ops::Norm{.epsilon = 1e-5F, .part = 256, .weight = 1}, attention->outputs, {1});
  ops(1).insert(attention + 1, norm);
  EXPECT_EQ(kinds(lower(1)), "norm+prepare linear3 heads attend merge+prepare norm prepare linear1+add");
}

// The number stands in for any of the file's: a norm's weights.
TEST_F(Lower, multiplies_by_a_scale_beside_a_matrix_before_anything_is_added) {
  Op& linear = ops(1).at(1);
  linear = changed<ops::Linear>(linear, [](ops::Linear& l) { l.parts.at(1).scale = 1; });
  EXPECT_EQ(kinds(lower(1)), "norm+prepare linear1 linear1 map linear1 heads attend merge+prepare linear1+add");
  Op& last = ops(1).back();
  last = changed<ops::Linear>(last, [](ops::Linear& l) { l.parts.front().scale = 1; });
  EXPECT_EQ(kinds(lower(1)), "norm+prepare linear1 linear1 map linear1 heads attend merge+prepare linear1 map map");
  Op& gated = ops(2).at(1);
  gated = changed<ops::GatedLinear>(gated, [](ops::GatedLinear& g) { g.parts[0].scale = 1; });
  EXPECT_EQ(kinds(lower(2)), "norm+prepare linear2 map map prepare linear1+add");
}

TEST_F(Lower, refuses_an_input_an_output_or_a_tensor_that_nothing_uses) {
  const std::vector<Op> before = ops(2);
  const auto with = [&](std::size_t op, auto change) {
    ops(2) = before;
    change(ops(2).at(op));
    return refused(2);
  };
  EXPECT_THAT(with(0, [](Op& op) { op.inputs.push_back(2); }),
              HasSubstr("the norm of blk.0.ffn: nothing uses its input 1"));
  EXPECT_THAT(with(1, [](Op& op) { op.outputs.push_back(2); }), HasSubstr("nothing uses its output 1"));
  EXPECT_THAT(with(0, [](Op& op) { op.tensors.push_back({2, model::TensorRole::Vector}); }),
              HasSubstr("nothing uses its tensor 1"));
}

TEST_F(Lower, refuses_a_matrix_of_another_shape_than_its_input_and_output) {
  Op& down = ops(2).at(2);
  down = changed<ops::Linear>(down, [](ops::Linear& l) { l.parts.front().tensor = 3; });
  EXPECT_THAT(refused(2), HasSubstr("does not have the shape of its input and output"));
}

// Attention's partial results live until the product that puts them together has prepared its input.
TEST_F(Lower, keeps_partial_results_of_attention_until_they_are_put_together) {
  shape_.context = 4096;
  const Recipe recipe = lower(1);
  const plan::Slot slot = static_cast<plan::Slot>(program_.values.size()) + static_cast<plan::Slot>(Own::Attention);
  const auto need = std::ranges::find(recipe.needs.buffers, slot, &plan::BufferNeed::slot);
  ASSERT_NE(need, recipe.needs.buffers.end());
  EXPECT_EQ(need->first, 3U);
  EXPECT_EQ(need->last, 4U);
}

TEST_F(Lower, has_a_place_for_each_kind_of_activations) {
  model_ = test::make_model(test::tiny(), [](std::string_view name, std::uint32_t) {
    if (name.ends_with("attn_k.weight")) return TensorType::F16;
    if (name.ends_with("attn_v.weight")) return TensorType::BF16;
    return TensorType::Q8_0;
  });
  shape_.batch = 7;
  const Recipe recipe = lower(1);
  const auto& prepare = std::get<recipe::Prepare>(recipe.steps.at(0));
  const auto at = [&](ActivationKind kind) { return prepare.targets[static_cast<std::size_t>(kind)]; };
  EXPECT_EQ(at(ActivationKind::Int8), Bytes(0));
  EXPECT_EQ(at(ActivationKind::Float32), quant::activation_bytes(ActivationKind::Int8, 256, 7));
  EXPECT_EQ(prepare.workspaces, std::nullopt);
  EXPECT_EQ(std::get<recipe::Linear>(recipe.steps.at(1)).products.at(1).activations,
            quant::activation_bytes(ActivationKind::Int8, 256, 7));
}

TEST_F(Lower, has_room_for_the_matrix_unit_where_passes_are_long_enough_for_it) {
  model_ = test::make_model(test::tiny(), [](std::string_view name, std::uint32_t) {
    return name.ends_with("attn_k.weight") ? TensorType::F16 : TensorType::Q8_0;
  });
  const auto activations = [&](const Recipe& recipe) {
    const plan::Slot slot = static_cast<plan::Slot>(program_.values.size()) + static_cast<plan::Slot>(Own::Activations);
    return std::ranges::find(recipe.needs.buffers, slot, &plan::BufferNeed::slot)->size;
  };
  shape_.threads = 3;
  shape_.batch = quant::kMatrixTokens;
  shape_.matrix_unit = true;
  const Recipe recipe = lower(1);
  const auto& prepare = std::get<recipe::Prepare>(recipe.steps.at(0));
  // Whole blocks of 256 values: more than Int8 takes, and as much as Float32.
  EXPECT_EQ(prepare.targets[static_cast<std::size_t>(ActivationKind::Float32)],
            quant::activation_bytes(ActivationKind::BfloatTiles, 256, shape_.batch));
  ASSERT_TRUE(prepare.workspaces.has_value());
  EXPECT_EQ(activations(recipe), *prepare.workspaces + quant::matrix_workspace(shape_.batch) * 3);
  shape_.batch = quant::kMatrixTokens - 1;
  EXPECT_EQ(std::get<recipe::Prepare>(lower(1).steps.at(0)).workspaces, std::nullopt);
}

}  // namespace
}  // namespace loadline::cpu
