// Operations that work value by value.
#include <algorithm>

#include "backend/cpu/lowerer.h"

namespace loadline::cpu {

Activation function_of(model::Activation activation) {
  using Model = model::Activation;
  switch (activation) {
    case Model::None: return {ActivationFunction::Identity};
    case Model::Silu: return {ActivationFunction::Silu};
    case Model::Gelu: return {ActivationFunction::Gelu};
    case Model::ReluSquared: return {ActivationFunction::Relu2};
    case Model::Sigmoid: return {ActivationFunction::Sigmoid};
    case Model::XIelu: return {ActivationFunction::Xielu};
    case Model::ClampedSwiglu: return {ActivationFunction::SwigluOai, 1.702F, 7.0F};
  }
  return {};
}

// Notes what the map uses, and makes it a step.
void Lowerer::map(const Operands& op, recipe::Map map) {
  const std::uint64_t rows = op.rows(task_.shape);
  if (width(map.a) != width(map.out)) op.cannot("its input and output differ in width");
  map.width = width(map.out);
  map.after_select = op.after_select();
  use(map.a, rows);
  use(map.b, rows);
  use(map.out, rows);
  end_step(map);
}

void Lowerer::split(Operands& op) {
  const auto& split = op.as<ops::Split>();
  const std::uint64_t rows = op.rows(task_.shape);
  recipe::Split step{split, op.input(0), {}, op.after_select()};
  std::uint64_t whole = 0;
  use(step.x, rows);
  for (std::size_t i = 0; i < split.widths.size(); ++i) {
    step.outs.push_back(op.output(i));
    use(step.outs.back(), rows);
    whole += split.widths[i];
    if (width(step.outs.back()) != split.repeats * split.widths[i]) op.cannot("its parts do not fit its outputs");
  }
  if (width(step.x) != split.repeats * whole) op.cannot("its parts do not fill its input");
  end_step(std::move(step));
}

void Lowerer::activate(Operands& op) {
  const auto& activate = op.as<ops::Activate>();
  op.honours(model::name_of(activate.activation));
  const ValueId x = op.input(0);
  Activation function = function_of(activate.activation);
  if (activate.activation == model::Activation::ClampedSwiglu) op.cannot("it has no gate");
  if (activate.activation == model::Activation::XIelu) {
    function.a = activate.alpha_p;
    function.b = activate.alpha_n;
    function.c = activate.beta;
    function.d = activate.epsilon;
  }
  map(op, {recipe::Map::Kind::Activate, x, x, op.output(0), 0, function, 1, model::kNoTensor, false});
}

void Lowerer::add(Operands& op) {
  op.honours("factor");
  const ValueId a = op.input(0);
  const ValueId b = op.input(1);
  if (width(a) != width(b)) op.cannot("its inputs differ in width");
  map(op, {recipe::Map::Kind::AddScaled, a, b, op.output(0), 0, {}, op.as<ops::Add>().factor, model::kNoTensor, false});
}

void Lowerer::multiply(Operands& op) {
  const auto& multiply = op.as<ops::Multiply>();
  if (multiply.activation != model::Activation::None) op.honours(model::name_of(multiply.activation));
  if (multiply.activation == model::Activation::XIelu) op.cannot("its activation has constants that it lacks");
  const ValueId a = op.input(0);
  const ValueId b = op.input(1);
  const bool by_row = width(b) == 1 && width(a) != 1;
  if (!by_row && width(a) != width(b)) op.cannot("its inputs differ in width");
  map(op, {by_row ? recipe::Map::Kind::GateByRow : recipe::Map::Kind::Gate, a, b, op.output(0), 0,
           function_of(multiply.activation), 1, model::kNoTensor, false});
}

void Lowerer::scale(Operands& op) {
  const auto& scale = op.as<ops::Scale>();
  op.honours("tensor");
  const ValueId x = op.input(0);
  map(op, {recipe::Map::Kind::Scale, x, x, op.output(0), 0, {}, scale.factor, vector(op, scale.tensor), false});
}

void Lowerer::clamp(Operands& op) {
  const ValueId x = op.input(0);
  map(op, {recipe::Map::Kind::Clamp, x, x, op.output(0), 0, {}, op.as<ops::Clamp>().limit, model::kNoTensor, false});
}

void Lowerer::soft_cap(Operands& op) {
  const ValueId x = op.input(0);
  const Activation cap{ActivationFunction::Softcap, op.as<ops::SoftCap>().cap};
  map(op, {recipe::Map::Kind::Activate, x, x, op.output(0), 0, cap, 1, model::kNoTensor, false});
}

}  // namespace loadline::cpu
