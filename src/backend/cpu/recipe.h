// The CPU's steps for a part of a program, with every fusion decided and nothing placed: values, tensors and offsets
// where the recorded step (steps.h) has addresses. Made by lower.h, turned into steps by recorder.h.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "backend/cpu/expert_steps.h"
#include "backend/cpu/row_steps.h"
#include "backend/cpu/vector_kernels.h"
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
  Up,           // what a gate that is no silu is multiplied with
  Experts,      // whatever the steps of an Experts or a HeadLinear share
};
inline constexpr std::size_t kOwnBuffers = 4;
inline constexpr std::array<std::string_view, kOwnBuffers> kOwnNames = {"activations", "attention", "up", "experts"};

// Rows of a tile (kernels.h).
inline constexpr std::uint64_t kTileRowsOfMatrix = 16;

// Products of one input that a step has room for; more are several steps.
inline constexpr std::size_t kMostProducts = 3;

namespace recipe {

using model::TensorIndex;
using model::ValueId;

struct Embed {
  TensorIndex table;
  ValueId out;
  bool by_position = false;
  bool add = false;
};

struct Select {
  ValueId x;
};

// An attention, with what its heads pass through before it.
struct Attention {
  model::ops::Attention attributes;
  ValueId q;
  std::optional<ValueId> k, v;
  ValueId out;
  TensorIndex q_norm = model::kNoTensor;
  TensorIndex k_norm = model::kNoTensor;
  float epsilon = 0;                     // of the norms
  std::optional<model::RopeIndex> rope;  // none: positions do not turn the heads here
  std::uint32_t rope_offset = 0;
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
  plan::Slot out = 0;  // a value, or Own::Up
  Bytes activations;   // in Own::Activations
  std::uint64_t first_row = 0;
  std::uint64_t rows = 0;
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

struct Norm {
  model::ops::Norm attributes;
  ValueId x, out;
  bool after_select;
};

struct Rope {
  model::ops::Rope attributes;
  ValueId x;
};

// See MapStep.
struct Map {
  using Kind = MapStep::Kind;
  Kind kind;
  plan::Slot a, b, out;  // b: a where there is none
  std::uint64_t width;
  Activation function;
  float factor;
  TensorIndex tensor;
  bool after_select;
  std::uint64_t first = 0;  // of the tensor's values, where it has one for each column
};

struct Split {
  model::ops::Split attributes;
  ValueId x;
  std::vector<ValueId> outs;
  bool after_select;
};

struct Route {
  model::ops::Route attributes;
  ValueId logits, out;
  bool after_select;
};

struct ExpertPart {
  TensorIndex tensor = model::kNoTensor;
  TensorIndex bias = model::kNoTensor;
  TensorIndex scale = model::kNoTensor;
  std::uint64_t first_row = 0;
  std::uint64_t rows = 0;
  std::uint64_t distance = 0;  // rows from one expert's to the next's
};
// The steps of an Experts, with what they share from the beginning of Own::Experts.
struct Experts {
  model::ops::Experts attributes;
  ValueId x, chosen, out;
  ExpertPart gate, up, down;
  struct Input {
    quant::ActivationKind kind;
    Bytes prepared, gathered;
  };
  std::vector<Input> inputs;  // one or two kinds
  std::uint64_t rows = 0;     // of the largest pass
  Bytes tables, gate_out, up_out, hidden, results, workspace;
  std::uint64_t workspace_floats = 0;
  bool after_select;
};
struct ExpertsPhase {
  Experts experts;
  ExpertsStep::Phase phase;
};
// Two in a row.
struct HeadLinear {
  model::ops::HeadLinear attributes;
  ValueId x, out;
  bool after_select;
  bool second = false;
};

struct Convolution {
  model::ops::Convolution attributes;
  ValueId x, out;
};
struct DeltaNet {
  model::ops::DeltaNet attributes;
  ValueId qkv, beta, decay, out;
  bool second = false;  // of two in a row
};
struct StateSpace {
  model::ops::StateSpace attributes;
  ValueId xbc, dt, out;
  bool second = false;  // likewise
};

using Step = std::variant<Embed, Select, Prepare, Heads, Attend, Linear, Gated, Norm, Rope, Map, Split, Route,
                          ExpertsPhase, HeadLinear, Convolution, DeltaNet, StateSpace>;

}  // namespace recipe

struct Recipe {
  std::vector<recipe::Step> steps;
  std::vector<recipe::Attention> attentions;
  plan::Needs needs;
};

}  // namespace loadline::cpu
