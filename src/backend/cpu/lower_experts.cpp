// Operations that multiply with many matrices: the experts that are chosen, and a matrix for each head.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "backend/cpu/expert_steps.h"
#include "backend/cpu/lowerer.h"

namespace loadline::cpu {

void Lowerer::route(Operands& op) {
  const auto& route = op.as<ops::Route>();
  for (const std::string_view name : {"choice_bias", "groups", "normalize", "scale"}) op.honours(name);
  if (route.gating != ops::Gating::Softmax) op.honours(ops::name_of(route.gating));
  const ValueId logits = op.input(0);
  const ValueId out = op.output(0);
  if (route.experts > kMaxExperts || route.used == 0 || route.used > route.experts) {
    op.cannot(fmt::format("it chooses {} of {} experts", route.used, route.experts));
  }
  const std::uint32_t groups = std::max(1U, route.groups);
  if (route.experts % groups != 0 || route.groups_used > groups ||
      route.experts / groups * std::max(1U, route.groups_used) < route.used) {
    op.cannot("its groups do not hold the experts that are to be chosen");
  }
  if (width(logits) != route.experts || width(out) < 2 * route.used) op.cannot("its values have other widths");
  vector(op, route.choice_bias);
  use(logits, op.rows(task_.shape));
  use(out, op.rows(task_.shape));
  end_step(recipe::Route{route, logits, out, op.after_select()});
}

recipe::ExpertPart Lowerer::expert_part(Operands& op, const ops::ExpertPart& part, std::uint32_t experts) {
  const gguf::TensorInfo& tensor = info(op.uses(part.tensor));
  if (tensor.rows() % experts != 0) op.cannot(fmt::format("the rows of {} are not its experts'", tensor.name));
  const std::uint64_t each = tensor.rows() / experts;
  const recipe::ExpertPart result{part.tensor,    vector(op, part.bias),         vector(op, part.scale),
                                  part.first_row, part.whole ? each : part.rows, each};
  slab(part.tensor, kRows16);
  return result;
}

void Lowerer::experts(Operands& op) {
  const auto& experts = op.as<ops::Experts>();
  for (const std::string_view name : {"bias", "scale", "rows", "ungated", "weights_before"}) op.honours(name);
  if (experts.activation != model::Activation::Silu) op.honours(model::name_of(experts.activation));
  const bool gated = experts.gate.tensor != model::kNoTensor;
  if (experts.activation == model::Activation::XIelu ||
      (!gated && experts.activation == model::Activation::ClampedSwiglu)) {
    op.cannot("its activation lacks something");
  }
  recipe::Experts step{};
  step.attributes = experts;
  step.x = op.input(0);
  step.chosen = op.input(1);
  step.out = op.output(0);
  step.after_select = op.after_select();
  if (gated) step.gate = expert_part(op, experts.gate, experts.experts);
  step.up = expert_part(op, experts.up, experts.experts);
  step.down = expert_part(op, experts.down, experts.experts);
  const std::uint64_t hidden = step.up.rows;
  if ((gated && step.gate.rows != hidden) || info(step.up.tensor).columns() != width(step.x) ||
      info(step.down.tensor).columns() != hidden || step.down.rows != width(step.out)) {
    op.cannot("its matrices do not fit each other");
  }

  // What the steps share, one after the other.
  const std::uint64_t tokens = op.rows(task_.shape);
  step.rows = tokens * experts.used;
  Bytes end;
  const auto take = [&](Bytes bytes) { return std::exchange(end, end + align_up(bytes, Bytes(64))); };
  const auto floats = [](std::uint64_t count) { return Bytes(count * sizeof(float)); };
  step.tables = take(floats(2 * experts.experts + 2 + 4 * step.rows));
  for (const TensorIndex tensor : {gated ? step.gate.tensor : step.up.tensor, step.up.tensor}) {
    const quant::ActivationKind kind = quant::activation_kind(info(tensor).type);
    if (std::ranges::find(step.inputs, kind, &recipe::Experts::Input::kind) != step.inputs.end()) continue;
    const Bytes prepared = take(quant::activation_bytes(kind, width(step.x), tokens));
    step.inputs.push_back({kind, prepared, take(quant::activation_bytes(kind, width(step.x), step.rows))});
  }
  const auto product = [&](const recipe::ExpertPart& part) {
    return floats(step.rows * MatrixSet{{}, part.first_row, part.distance, part.rows}.width());
  };
  step.gate_out = gated ? take(product(step.gate)) : end;
  step.up_out = take(product(step.up));
  const quant::ActivationKind kind = quant::activation_kind(info(step.down.tensor).type);
  step.hidden = take(quant::activation_bytes(kind, hidden, step.rows));
  const std::uint64_t out_width = MatrixSet{{}, 0, step.down.distance, step.down.rows}.width();
  step.results = take(floats(std::min<std::uint64_t>(tokens, kFewExpertTokens) * experts.used * out_width));
  step.workspace_floats = tokens > kFewExpertTokens ? tokens * kExpertStride : 0;
  step.workspace = take(floats(step.workspace_floats) * task_.shape.threads);

  const std::uint32_t from = this->step();
  for (int phase = 0; phase < 6; ++phase) {
    use(step.x, tokens);
    use(step.chosen, tokens);
    use(step.out, tokens);
    own(Own::Experts, end, from);
    end_step(recipe::ExpertsPhase{step, static_cast<ExpertsStep::Phase>(phase)});
  }
}

void Lowerer::head_linear(Operands& op) {
  const auto& linear = op.as<ops::HeadLinear>();
  op.honours("copied");
  op.honours("transposed");
  recipe::HeadLinear step{linear, op.input(0), op.output(0), op.after_select()};
  const gguf::TensorInfo& tensor = info(op.uses(linear.tensor));
  const std::uint64_t used = linear.transposed ? linear.columns : linear.rows;
  if (tensor.columns() != (linear.transposed ? linear.rows : linear.columns) ||
      linear.first_row + (linear.heads - std::uint64_t{1}) * linear.head_rows + used > tensor.rows() ||
      width(step.x) != linear.heads * (linear.columns + linear.copied) ||
      width(step.out) != linear.heads * (linear.rows + linear.copied)) {
    op.cannot(fmt::format("{} does not have the shape of its input and output", tensor.name));
  }
  const bool aligned = MatrixSet{{}, linear.first_row, linear.head_rows, used}.aligned();
  if ((linear.transposed || !aligned) && tensor.columns() > kMostSingleColumns) op.cannot("its rows are too long");
  slab(linear.tensor, kRows16);
  const std::uint64_t rows = op.rows(task_.shape);
  const quant::ActivationKind kind = quant::activation_kind(tensor.type);
  const Bytes prepared =
      linear.transposed || !aligned ? Bytes(0) : quant::activation_bytes(kind, linear.columns, rows) * linear.heads;
  const std::uint32_t from = this->step();
  for (const bool second : {false, true}) {
    step.second = second;
    use(step.x, rows);
    use(step.out, rows);
    own(Own::Experts, prepared, from);
    end_step(step);
  }
}

}  // namespace loadline::cpu
