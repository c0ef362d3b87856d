// Operations that work value by value, and the experts.
#include <fmt/format.h>

#include <algorithm>

#include "backend/vulkan/lowerer.h"

namespace loadline::vulkan {

using model::Activation;
using model::OpKind;
using Kind = recipe::Map::Kind;

namespace {

// route.comp
constexpr std::uint32_t kMostExperts = 1024;

}  // namespace

void Lowerer::map(Operands& op) {
  const recipe::Map map = map_of(op);
  if (width(map.a) != width(map.out)) op.cannot("its input and output differ in width");
  step(map);
}

recipe::Map Lowerer::map_of(Operands& op) {
  const ValueId a = op.input(0);
  const ValueId out = op.output(0);
  switch (op.kind()) {
    case OpKind::Activate: {
      const auto& activate = op.as<ops::Activate>();
      op.honours(model::name_of(activate.activation));
      if (activate.activation == Activation::ClampedSwiglu) op.cannot("it has no gate");
      const Kind kind = activate.activation == Activation::XIelu ? Kind::XIelu : Kind::Activate;
      return {kind, a, a, out, activate.activation, 1, model::kNoTensor, activate};
    }
    case OpKind::Add: {
      op.honours("factor");
      const ValueId b = op.input(1);
      if (width(a) != width(b)) op.cannot("its inputs differ in width");
      return {Kind::Add, a, b, out, Activation::None, op.as<ops::Add>().factor};
    }
    case OpKind::Multiply: {
      const Activation activation = op.as<ops::Multiply>().activation;
      if (activation != Activation::None) op.honours(model::name_of(activation));
      if (activation == Activation::XIelu || activation == Activation::ClampedSwiglu) {
        op.cannot("its activation has constants that it lacks");
      }
      const ValueId b = op.input(1);
      const bool by_one = width(b) == 1 && width(a) != 1;
      if (!by_one && width(a) != width(b)) op.cannot("its inputs differ in width");
      return {by_one ? Kind::MultiplyByOne : Kind::Multiply, a, b, out, activation};
    }
    case OpKind::Scale: {
      op.honours("tensor");
      const auto& scale = op.as<ops::Scale>();
      return {Kind::Scale, a, a, out, Activation::None, scale.factor, vector(op, scale.tensor)};
    }
    case OpKind::Clamp: return {Kind::Clamp, a, a, out, Activation::None, op.as<ops::Clamp>().limit};
    case OpKind::SoftCap: return {Kind::SoftCap, a, a, out, Activation::None, op.as<ops::SoftCap>().cap};
    default: op.cannot("it has no step for it");
  }
}

void Lowerer::split(Operands& op) {
  const auto& split = op.as<ops::Split>();
  recipe::Split step_of{split, op.input(0), {}};
  std::uint64_t whole = 0;
  for (std::size_t i = 0; i < split.widths.size(); ++i) {
    step_of.outs.push_back(op.output(i));
    whole += split.widths[i];
    if (width(step_of.outs.back()) != split.repeats * split.widths[i]) op.cannot("its parts do not fit its outputs");
  }
  if (width(step_of.x) != split.repeats * whole) op.cannot("its parts do not fill its input");
  step(std::move(step_of));
}

void Lowerer::route(Operands& op) {
  const auto& route = op.as<ops::Route>();
  for (const std::string_view name : {"choice_bias", "groups", "normalize", "scale"}) op.honours(name);
  if (route.gating != ops::Gating::Softmax) op.honours(ops::name_of(route.gating));
  const ValueId logits = op.input(0);
  const ValueId out = op.output(0);
  const std::uint32_t groups = std::max(1U, route.groups);
  if (route.experts > kMostExperts || route.used == 0 || route.used > route.experts || route.experts % groups != 0 ||
      route.groups_used > groups || route.experts / groups * std::max(1U, route.groups_used) < route.used) {
    op.cannot(fmt::format("it chooses {} of {} experts in {} groups", route.used, route.experts, groups));
  }
  if (width(logits) != route.experts || width(out) != 2 * route.used) op.cannot("its values have other widths");
  vector(op, route.choice_bias);
  step(recipe::Route{route, logits, out});
}

void Lowerer::expert_part(Operands& op, const ops::ExpertPart& part, std::uint32_t experts) {
  const gguf::TensorInfo& tensor = info(slab(op, part.tensor, true));
  vector(op, part.bias);
  vector(op, part.scale);
  if (tensor.rows() % experts != 0) op.cannot(fmt::format("the rows of {} are not its experts'", tensor.name));
  const std::uint64_t each = tensor.rows() / experts;
  if (!part.whole && part.first_row + part.rows > each) op.cannot(fmt::format("{} has fewer rows", tensor.name));
}

void Lowerer::experts(Operands& op) {
  const auto& experts = op.as<ops::Experts>();
  for (const std::string_view name : {"bias", "scale", "rows", "ungated", "weights_before"}) op.honours(name);
  if (experts.activation != Activation::Silu) op.honours(model::name_of(experts.activation));
  const bool gated = experts.gate.tensor != model::kNoTensor;
  if (experts.activation == Activation::XIelu || (!gated && experts.activation == Activation::ClampedSwiglu)) {
    op.cannot("its activation lacks something");
  }
  const auto rows = [&](const ops::ExpertPart& part) {
    return part.whole ? info(part.tensor).rows() / experts.experts : part.rows;
  };
  if (gated) expert_part(op, experts.gate, experts.experts);
  expert_part(op, experts.up, experts.experts);
  expert_part(op, experts.down, experts.experts);
  const std::uint64_t hidden = rows(experts.up);
  recipe::Experts step_of{experts, op.input(0), op.input(1), op.output(0), static_cast<std::uint32_t>(hidden)};
  if ((gated && rows(experts.gate) != hidden) || info(experts.up.tensor).columns() != width(step_of.x) ||
      info(experts.down.tensor).columns() != hidden || rows(experts.down) != width(step_of.out) ||
      width(step_of.chosen) != 2 * experts.used) {
    op.cannot("its matrices do not fit each other");
  }
  own(Own::Experts, expert_room(experts, step_of.hidden, width(step_of.out), op.rows(task_.shape)).total,
      recipe_.needs.steps);
  step(step_of);
}

void Lowerer::head_linear(Operands& op) {
  const auto& linear = op.as<ops::HeadLinear>();
  op.honours("copied");
  op.honours("transposed");
  const recipe::HeadLinear step_of{linear, op.input(0), op.output(0)};
  const gguf::TensorInfo& tensor = info(slab(op, linear.tensor, true));
  const std::uint64_t used = linear.transposed ? linear.columns : linear.rows;
  if (tensor.columns() != (linear.transposed ? linear.rows : linear.columns) ||
      linear.first_row + (linear.heads - std::uint64_t{1}) * linear.head_rows + used > tensor.rows() ||
      width(step_of.x) != linear.heads * (linear.columns + linear.copied) ||
      width(step_of.out) != linear.heads * (linear.rows + linear.copied)) {
    op.cannot(fmt::format("{} does not have the shape of its input and output", tensor.name));
  }
  step(step_of);
}

}  // namespace loadline::vulkan
