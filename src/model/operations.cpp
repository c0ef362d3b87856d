#include "model/operations.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace loadline::model {

std::string_view name_of(Activation activation) {
  switch (activation) {
    case Activation::None: return "no activation";
    case Activation::Silu: return "silu";
    case Activation::Gelu: return "gelu";
    case Activation::ReluSquared: return "relu squared";
    case Activation::Sigmoid: return "sigmoid";
    case Activation::XIelu: return "xielu";
    case Activation::ClampedSwiglu: return "clamped swiglu";
  }
  return "unknown";
}

std::string_view ops::name_of(Gating gating) {
  switch (gating) {
    case Gating::Softmax: return "softmax";
    case Gating::Sigmoid: return "sigmoid";
    case Gating::SoftmaxOfChosen: return "softmax of the chosen";
    case Gating::SigmoidOfChosen: return "sigmoid of the chosen";
    case Gating::SqrtSoftplus: return "sqrt softplus";
  }
  return "unknown";
}

float ops::alibi_slope(float max_bias, std::uint32_t heads, std::uint32_t head) {
  const std::uint32_t whole = std::bit_floor(heads);  // the paper's heads are a power of two
  const double exponent =
      head < whole ? -max_bias * (head + 1.0) / whole : -max_bias / 2.0 * (2.0 * (head - whole) + 1.0) / whole;
  return static_cast<float>(std::exp2(exponent));
}

std::string_view name_of(OpKind kind) {
  switch (kind) {
    case OpKind::Embed: return "embed";
    case OpKind::Norm: return "norm";
    case OpKind::Linear: return "linear";
    case OpKind::GatedLinear: return "gated_linear";
    case OpKind::HeadLinear: return "head_linear";
    case OpKind::Rope: return "rope";
    case OpKind::Attention: return "attention";
    case OpKind::Route: return "route";
    case OpKind::Experts: return "experts";
    case OpKind::Convolution: return "convolution";
    case OpKind::DeltaNet: return "delta_net";
    case OpKind::StateSpace: return "state_space";
    case OpKind::Split: return "split";
    case OpKind::Activate: return "activate";
    case OpKind::Add: return "add";
    case OpKind::Multiply: return "multiply";
    case OpKind::Scale: return "scale";
    case OpKind::Clamp: return "clamp";
    case OpKind::SoftCap: return "soft_cap";
    case OpKind::SelectOutputs: return "select_outputs";
  }
  return "unknown";
}

namespace {

// What an operation is told about: each tensor and each attribute that is used. One function for each kind, so that a
// new member has one place where it is named.
struct Description {
  std::vector<TensorUse> tensors;
  std::vector<std::string_view> attributes;

  void tensor(TensorIndex index, TensorRole role) {
    if (index != kNoTensor) tensors.push_back({index, role});
  }
  // A tensor that the plainest operation of the kind does not have.
  void more(std::string_view name, TensorIndex index) {
    tensor(index, TensorRole::Vector);
    used(name, index != kNoTensor);
  }
  void used(std::string_view name, bool is) {
    if (is && std::ranges::find(attributes, name) == attributes.end()) attributes.push_back(name);
  }
  template <class Part>
  void part(const Part& p, TensorRole role) {
    tensor(p.tensor, role);
    more("bias", p.bias);
    more("scale", p.scale);
    used("rows", !p.whole);
  }
};

void describe(const ops::Embed& op, Description& to) {
  to.tensor(op.table, TensorRole::Table);
  to.used("by_position", op.by_position);
  to.used("add", op.add);
}

void describe(const ops::Norm& op, Description& to) {
  to.tensor(op.weight, TensorRole::Vector);
  to.more("bias", op.bias);
  to.used("layer", op.kind == ops::NormKind::Layer);
  to.used("no weight", op.weight == kNoTensor);
  to.used("parts", op.parts > 1);
  to.used("offset", op.offset > 0);
  to.used("weight_per_part", op.weight_per_part);
}

void describe(const ops::Linear& op, Description& to) {
  for (const ops::LinearPart& part : op.parts) to.part(part, TensorRole::Matrix);
  to.used("add", op.add);
}

void describe(const ops::GatedLinear& op, Description& to) {
  for (const ops::LinearPart& part : op.parts) to.part(part, TensorRole::Matrix);
  to.used(name_of(op.activation), op.activation != Activation::Silu);
}

void describe(const ops::HeadLinear& op, Description& to) {
  to.tensor(op.tensor, TensorRole::Matrix);
  to.used("copied", op.copied > 0);
  to.used("transposed", op.transposed);
}

void describe(const ops::Rope& op, Description& to) { to.used("offset", op.offset > 0); }

void describe(const ops::Attention& op, Description& to) {
  to.more("sinks", op.sinks);
  to.used("softcap", op.softcap != 0);
  to.used("window", op.window != 0);
  to.used("chunk", op.chunk != 0);
  to.used("temperature", op.temperature.scale != 0);
  to.used("alibi", op.alibi != 0);
  to.used("values_in_keys", op.values_in_keys);
  to.used("another layer's cache", !op.stores);
}

void describe(const ops::Route& op, Description& to) {
  to.more("choice_bias", op.choice_bias);
  to.used(name_of(op.gating), op.gating != ops::Gating::Softmax);
  to.used("groups", op.groups > 1);
  to.used("normalize", op.normalize);
  to.used("scale", op.scale != 1);
}

void describe(const ops::Experts& op, Description& to) {
  for (const ops::ExpertPart* part : {&op.gate, &op.up, &op.down}) to.part(*part, TensorRole::Experts);
  to.used("ungated", op.gate.tensor == kNoTensor);
  to.used(name_of(op.activation), op.activation != Activation::Silu);
  to.used("weights_before", op.weights_before);
}

void describe(const ops::Convolution& op, Description& to) {
  to.tensor(op.weight, TensorRole::Vector);
  to.more("bias", op.bias);
  to.used(name_of(op.activation), op.activation != Activation::None);
}

void describe(const ops::DeltaNet& op, Description& to) {
  to.tensor(op.dt_bias, TensorRole::Vector);
  to.tensor(op.decay, TensorRole::Vector);
  to.used("tiled", op.tiled);
}

void describe(const ops::StateSpace& op, Description& to) {
  for (const TensorIndex tensor : {op.dt_bias, op.a, op.d}) to.tensor(tensor, TensorRole::Vector);
}

void describe(const ops::Split& /*op*/, Description& /*to*/) {}
void describe(const ops::Activate& op, Description& to) { to.used(name_of(op.activation), true); }
void describe(const ops::Add& op, Description& to) { to.used("factor", op.factor != 1); }
void describe(const ops::Multiply& op, Description& to) {
  to.used(name_of(op.activation), op.activation != Activation::None);
}
void describe(const ops::Scale& op, Description& to) { to.more("tensor", op.tensor); }
void describe(const ops::Clamp& /*op*/, Description& /*to*/) {}
void describe(const ops::SoftCap& /*op*/, Description& /*to*/) {}
void describe(const ops::SelectOutputs& /*op*/, Description& /*to*/) {}

Description describe(const OpAttributes& attributes) {
  Description description;
  std::visit([&](const auto& op) { describe(op, description); }, attributes);
  return description;
}

}  // namespace

Op::Op(OpAttributes attributes, std::vector<ValueId> read, std::vector<ValueId> written)
    : kind(static_cast<OpKind>(attributes.index())),
      inputs(std::move(read)),
      outputs(std::move(written)),
      tensors(describe(attributes).tensors),
      attributes_(std::move(attributes)) {}

std::span<const ops::LinearPart> Op::parts() const {
  if (const auto* linear = std::get_if<ops::Linear>(&attributes_)) return linear->parts;
  if (const auto* gated = std::get_if<ops::GatedLinear>(&attributes_)) return gated->parts;
  return {};
}

std::vector<std::string_view> Op::used_attributes() const { return describe(attributes_).attributes; }

bool Op::mixes_tokens() const {
  return kind == OpKind::Attention || kind == OpKind::Convolution || kind == OpKind::DeltaNet ||
         kind == OpKind::StateSpace;
}

}  // namespace loadline::model
