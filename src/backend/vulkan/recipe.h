// A GPU's steps for a part of a program, with every fusion decided and nothing placed: values, tensors and rows where
// the recorded dispatches (arguments.h) have addresses. Made by lower.h, turned into command lists by recorder.h.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "model/program.h"
#include "plan/needs.h"

namespace loadline::vulkan {

namespace recipe {

using model::TensorIndex;
using model::ValueId;

struct Embed {
  model::ops::Embed attributes;
  ValueId out;
};

struct Select {
  ValueId x;
};

struct Norm {
  model::ops::Norm attributes;
  ValueId x, out;
};

// What a product's input passes through that nobody else reads: a pass of one row normalises it on the way, others
// before the product.
using FusedNorm = std::optional<Norm>;

struct Linear {
  std::vector<model::ops::LinearPart> parts;
  FusedNorm norm;
  ValueId x;  // with `norm`: what that makes
  std::vector<ValueId> outs;
  bool accumulate = false;
};

// gate, then up.
struct Gated {
  model::ops::LinearPart gate, up;
  FusedNorm norm;
  ValueId x, out;
  model::Activation activation;
};

struct Rope {
  model::ops::Rope attributes;
  ValueId x;
};

// Storing and attending, with what the heads pass through before.
struct Attention {
  model::ops::Attention attributes;
  ValueId q;
  std::optional<ValueId> k, v;
  ValueId out;
  TensorIndex q_norm = model::kNoTensor;
  TensorIndex k_norm = model::kNoTensor;
  float epsilon = 0;                          // of the norms
  std::optional<model::RopeIndex> rope = {};  // none: positions do not turn the heads here
};

struct Map {
  enum class Kind : std::uint32_t { Activate, Add, Multiply, MultiplyByOne, Scale, Clamp, SoftCap, XIelu };  // map.comp
  Kind kind;
  ValueId a, b, out;  // b: a where there is none
  model::Activation function = model::Activation::None;
  float factor = 1;
  TensorIndex tensor = model::kNoTensor;
  model::ops::Activate constants = {};  // of XIelu
};

struct Split {
  model::ops::Split attributes;
  ValueId x;
  std::vector<ValueId> outs;
};

struct Route {
  model::ops::Route attributes;
  ValueId logits, out;
};

struct Experts {
  model::ops::Experts attributes;
  ValueId x, chosen, out;
  std::uint32_t hidden;  // values between an expert's two products
};

struct HeadLinear {
  model::ops::HeadLinear attributes;
  ValueId x, out;
};

struct Convolution {
  model::ops::Convolution attributes;
  ValueId x, out;
};

struct DeltaNet {
  model::ops::DeltaNet attributes;
  ValueId qkv, beta, decay, out;
};

struct StateSpace {
  model::ops::StateSpace attributes;
  ValueId xbc, dt, out;
};

}  // namespace recipe

struct Step {
  std::uint32_t op;  // of the group: the one whose place it has
  bool after_select;
  std::variant<recipe::Embed, recipe::Select, recipe::Norm, recipe::Linear, recipe::Gated, recipe::Rope,
               recipe::Attention, recipe::Map, recipe::Split, recipe::Route, recipe::Experts, recipe::HeadLinear,
               recipe::Convolution, recipe::DeltaNet, recipe::StateSpace>
      what;
};

struct Recipe {
  std::vector<Step> steps;
  plan::Needs needs;
};

}  // namespace loadline::vulkan
