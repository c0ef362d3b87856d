// Operations whose layers keep a state for each sequence.
#include "backend/vulkan/lowerer.h"
#include "plan/cache_pages.h"

namespace loadline::vulkan {

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
  if (convolution.activation == model::Activation::XIelu ||
      convolution.activation == model::Activation::ClampedSwiglu) {
    op.cannot("its activation has constants that it lacks");
  }
  const recipe::Convolution step_of{convolution, op.input(0), op.output(0)};
  if (convolution.taps < 2 || step_of.x == step_of.out || width(step_of.x) != width(step_of.out)) {
    op.cannot("its values do not fit it");
  }
  vector(op, convolution.weight);
  vector(op, convolution.bias);
  state(op, convolution.cache, std::uint64_t{convolution.taps - 1} * width(step_of.x));
  step(step_of);
}

void Lowerer::delta_net(Operands& op) {
  const auto& net = op.as<ops::DeltaNet>();
  op.honours("tiled");
  const recipe::DeltaNet step_of{net, op.input(0), op.input(1), op.input(2), op.output(0)};
  if (net.size > kMostStateSize || net.key_heads == 0 || net.value_heads % net.key_heads != 0 ||
      width(step_of.qkv) != (2 * net.key_heads + net.value_heads) * net.size ||
      width(step_of.beta) != net.value_heads || width(step_of.decay) != net.value_heads ||
      width(step_of.out) != net.value_heads * net.size) {
    op.cannot("its values have other widths than its heads");
  }
  vector(op, net.dt_bias);
  vector(op, net.decay);
  state(op, net.cache, std::uint64_t{net.value_heads} * net.size * net.size);
  step(step_of);
}

void Lowerer::state_space(Operands& op) {
  const auto& scan = op.as<ops::StateSpace>();
  const recipe::StateSpace step_of{scan, op.input(0), op.input(1), op.output(0)};
  if (scan.state > kMostStateSize || scan.heads == 0 || scan.groups == 0 || scan.inner % scan.heads != 0 ||
      scan.heads % scan.groups != 0 || width(step_of.xbc) != scan.inner + 2 * scan.groups * scan.state ||
      width(step_of.dt) != scan.heads || width(step_of.out) != scan.inner) {
    op.cannot("its values have other widths than its heads");
  }
  for (const TensorIndex tensor : {scan.dt_bias, scan.a, scan.d}) vector(op, tensor);
  state(op, scan.cache, std::uint64_t{scan.inner} * scan.state);
  step(step_of);
}

}  // namespace loadline::vulkan
