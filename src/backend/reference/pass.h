// One causal pass of the oracle, positions from 0: a function for each operation, in plain float32 loops. Each takes
// its attributes apart by name, so that an attribute that is added does not compile before it is computed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "backend/reference/weights.h"
#include "model/program.h"

namespace loadline::reference {

float activate(model::Activation activation, float x);
float activate_gated(model::Activation activation, float gate, float up);

class Pass {
 public:
  // `context`: as allocated, which chooses between long and short rope factors.
  Pass(const gguf::Model& model, const model::Program& program, std::span<const std::int32_t> tokens,
       std::uint32_t context);

  void run(const model::Op& op);
  std::vector<float> take(model::ValueId value) { return std::move(values_[value]); }

 private:
  void run(const model::ops::Embed& op);
  void run(const model::ops::Norm& op);
  void run(const model::ops::Linear& op);
  void run(const model::ops::GatedLinear& op);
  void run(const model::ops::HeadLinear& op);
  void run(const model::ops::Rope& op);
  void run(const model::ops::Attention& op);
  void run(const model::ops::Route& op);
  void run(const model::ops::Experts& op);
  void run(const model::ops::Convolution& op);
  void run(const model::ops::DeltaNet& op);
  void run(const model::ops::StateSpace& op);
  void run(const model::ops::Split& op);
  void run(const model::ops::Activate& op);
  void run(const model::ops::Add& op);
  void run(const model::ops::Multiply& op);
  void run(const model::ops::Scale& op);
  void run(const model::ops::Clamp& op);
  void run(const model::ops::SoftCap& op);
  void run(const model::ops::SelectOutputs& op);

  // Of the operation at hand.
  [[nodiscard]] const float* in(std::size_t index, std::size_t token) { return row(op_->inputs[index], token); }
  [[nodiscard]] float* out(std::size_t token, std::size_t index = 0) { return row(op_->outputs[index], token); }
  [[nodiscard]] std::uint32_t in_width(std::size_t index) const { return program_.values[op_->inputs[index]].width; }
  [[nodiscard]] std::uint32_t out_width() const { return program_.values[op_->outputs[0]].width; }

  [[nodiscard]] float* row(model::ValueId value, std::size_t token) {
    return values_[value].data() + token * program_.values[value].width;
  }
  // result[token][rows]: the part's product with the operation's first input.
  std::vector<float> product(const model::ops::LinearPart& part);
  // y[i] = function(x[i]) of the first input's rows.
  template <class Function>
  void each(Function function) {
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      for (std::uint32_t i = 0; i < out_width(); ++i) out(t)[i] = function(in(0, t)[i]);
    }
  }

  // Keys and values of all positions, as the layer that stored them left them.
  struct Stored {
    std::vector<float> keys;
    std::vector<float> values;
  };

  const model::Program& program_;
  std::span<const std::int32_t> tokens_;
  Weights weights_;
  std::vector<std::vector<float>> values_;       // per ValueId, [tokens][width]
  std::vector<std::vector<float>> frequencies_;  // per rope table
  std::vector<Stored> caches_;
  const model::Op* op_ = nullptr;
};

}  // namespace loadline::reference
