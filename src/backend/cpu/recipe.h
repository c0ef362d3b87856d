// The CPU's steps for a part of a program, with every fusion decided and nothing placed: values, tensors and offsets
// where the recorded step (steps.h) has addresses. Made by lower.h, turned into steps by recorder.h.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "model/program.h"
#include "plan/needs.h"
#include "quant/activation.h"

namespace loadline::cpu {

// How matrices of products lie: sixteen rows interleaved (layout.h).
inline constexpr plan::Layout kRows16{1};

// Buffers of our own, after the program's values.
enum class Own : std::uint8_t {
  Activations,  // prepared inputs of products, and the matrix unit's workspaces
  Attention,    // partial results of a cache that is read in several parts
};
inline constexpr std::size_t kOwnBuffers = 2;

// Products of one input that a step has room for; more are several steps.
inline constexpr std::size_t kMostProducts = 3;

namespace recipe {

using model::TensorIndex;
using model::ValueId;

struct Embed {
  TensorIndex table;
  ValueId out;
};

struct Select {
  ValueId x;
};

// An attention, with what its heads pass through before it.
struct Attention {
  model::ops::Attention attributes;
  ValueId q, k, v, out;
  TensorIndex q_norm = model::kNoTensor;
  TensorIndex k_norm = model::kNoTensor;
  float epsilon = 0;                     // of the norms
  std::optional<model::RopeIndex> rope;  // none: positions do not turn the heads
};
// Which of Recipe::attentions.
struct Heads {
  std::size_t attention;
};
struct Attend {
  std::size_t attention;
};

struct Prepare {
  ValueId x;
  TensorIndex norm = model::kNoTensor;  // with it: `normed` = norm(x), and that is prepared
  ValueId normed = 0;
  float epsilon = 0;
  std::optional<std::size_t> merge;  // with it: x is that attention's output, finished here
  // From the beginning of Own::Activations, by quant::ActivationKind.
  std::array<std::optional<Bytes>, quant::kActivationKinds> targets;
  std::optional<Bytes> workspaces;  // of the matrix unit, one for each thread
  bool after_select = false;
};

struct Product {
  TensorIndex weights;
  TensorIndex bias = model::kNoTensor;
  ValueId out = 0;
  Bytes activations;  // in Own::Activations
};
struct Linear {
  std::vector<Product> products;  // 1 to kMostProducts
  bool accumulate = false;
  std::optional<Bytes> workspaces;
  bool after_select = false;
};

// Two in a row for each gated product, see GatedStep.
struct Gated {
  Product gate;
  Product up;
  std::optional<Bytes> workspaces;
  bool second = false;
  bool after_select = false;
};

using Step = std::variant<Embed, Select, Prepare, Heads, Attend, Linear, Gated>;

}  // namespace recipe

struct Recipe {
  std::vector<recipe::Step> steps;
  std::vector<recipe::Attention> attentions;
  plan::Needs needs;
};

}  // namespace loadline::cpu
