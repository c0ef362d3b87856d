// Operations whose layers keep a state for each sequence.
#include "backend/cpu/lowerer.h"
#include "plan/cache_pages.h"

namespace loadline::cpu {

// All states (TokenRun::state), which lie in the place of keys.
void Lowerer::state(const Operands& op, model::CacheIndex cache, std::uint64_t floats) {
  const model::Cache& c = task_.program.caches[cache];
  if (c.kind != model::CacheKind::State || c.state != floats) op.cannot("its cache is not the state that it needs");
  const std::uint32_t states = plan::states_of(task_.shape);
  recipe_.needs.caches.push_back({cache, states, Bytes(floats * sizeof(float)) * states, Bytes(0)});
}

void Lowerer::convolution(Operands& op) {
  const auto& convolution = op.as<ops::Convolution>();
  op.honours("bias");
  if (convolution.activation != model::Activation::None) op.honours(model::name_of(convolution.activation));
  if (convolution.activation != model::Activation::None && convolution.activation != model::Activation::Silu) {
    op.cannot("its activation is no silu");
  }
  if (convolution.taps < 2 || convolution.taps > kMaxTaps) op.cannot("it has too many taps, or too few");
  const recipe::Convolution step{convolution, op.input(0), op.output(0)};
  if (width(step.x) != width(step.out)) op.cannot("its input and output differ in width");
  vector(op, convolution.weight);
  vector(op, convolution.bias);
  state(op, convolution.cache, std::uint64_t{convolution.taps - 1} * width(step.x));
  use(step.x, task_.shape.batch);
  use(step.out, task_.shape.batch);
  end_step(step);
}

void Lowerer::delta_net(Operands& op) {
  const auto& net = op.as<ops::DeltaNet>();
  op.honours("tiled");
  recipe::DeltaNet step{net, op.input(0), op.input(1), op.input(2), op.output(0)};
  if (net.key_heads == 0 || net.value_heads % net.key_heads != 0 ||
      width(step.qkv) != (2 * net.key_heads + net.value_heads) * net.size || width(step.beta) != net.value_heads ||
      width(step.decay) != net.value_heads || width(step.out) != net.value_heads * net.size) {
    op.cannot("its values have other widths than its heads");
  }
  vector(op, net.dt_bias);
  vector(op, net.decay);
  state(op, net.cache, std::uint64_t{net.value_heads} * net.size * net.size);
  for (const bool second : {false, true}) {
    step.second = second;
    for (const ValueId value : {step.qkv, step.beta, step.decay, step.out}) use(value, task_.shape.batch);
    end_step(step);
  }
}

void Lowerer::state_space(Operands& op) {
  const auto& scan = op.as<ops::StateSpace>();
  recipe::StateSpace step{scan, op.input(0), op.input(1), op.output(0)};
  if (scan.heads == 0 || scan.groups == 0 || scan.inner % scan.heads != 0 || scan.heads % scan.groups != 0 ||
      width(step.xbc) != scan.inner + 2 * scan.groups * scan.state || width(step.dt) != scan.heads ||
      width(step.out) != scan.inner) {
    op.cannot("its values have other widths than its heads");
  }
  for (const TensorIndex tensor : {scan.dt_bias, scan.a, scan.d}) vector(op, tensor);
  state(op, scan.cache, std::uint64_t{scan.inner} * scan.state);
  for (const bool second : {false, true}) {
    step.second = second;
    for (const ValueId value : {step.xbc, step.dt, step.out}) use(value, task_.shape.batch);
    end_step(step);
  }
}

}  // namespace loadline::cpu
