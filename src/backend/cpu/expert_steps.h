// Steps whose products are with many matrices, each with tokens of its own: the experts that a router has chosen, and a
// matrix for each head. Of few tokens the threads share the rows of all matrices that are needed, and read only those;
// of many, the tokens of a matrix go together.
#pragma once

#include <array>
#include <cstdint>

#include "backend/cpu/pass.h"
#include "base/thread_pool.h"

namespace loadline::cpu {

// Matrices of one shape in a tensor, each some of its rows, from one first row to the next by `distance` rows. Tiles
// are the tensor's: where a matrix begins within one, products are made from that tile's beginning on, and their first
// shift() values are a neighbour's.
struct MatrixSet {
  Matrix all;  // the tensor
  std::uint64_t first_row;
  std::uint64_t distance;
  std::uint64_t rows;  // of each

  [[nodiscard]] bool aligned() const {
    return first_row % kTileRows == 0 && distance % kTileRows == 0 && rows % kTileRows == 0;
  }
  [[nodiscard]] std::uint64_t shift(std::uint64_t i) const { return (first_row + i * distance) % kTileRows; }
  // Of any of them, at most.
  [[nodiscard]] std::uint64_t tiles() const {
    return aligned() ? rows / kTileRows : (rows + kTileRows - 2) / kTileRows + 1;
  }
  // Values of a product.
  [[nodiscard]] std::uint64_t width() const { return tiles() * kTileRows; }
  // The tiles that hold matrix i.
  [[nodiscard]] Matrix at(std::uint64_t i) const;
};

// What a router leaves for each token: `used` of these.
struct ChosenExpert {
  std::int32_t expert;
  float weight;
};

struct RouteStep {
  Routing routing;
  const float* logits;  // [rows][experts]
  ChosenExpert* out;    // [rows][used]
  bool after_select;
};

// Passes of up to so many tokens share all matrices' rows (see above); there is room for every expert's result.
constexpr std::uint32_t kFewExpertTokens = 8;
// Rows of a result that a thread finishes at once, of all experts, in passes of more.
constexpr std::uint64_t kExpertRows = 64;
// Values from one row of them to the next: where an expert's matrix begins within a tile, they are a tile more.
constexpr std::uint64_t kExpertStride = kExpertRows + kTileRows;

// The rows that experts multiply are those of the tokens that chose them, expert after expert: `rows` = tokens * used.
struct ExpertTables {
  std::uint32_t* begin;    // [experts + 1] the first row of each expert
  std::uint32_t* active;   // [experts] those that have rows, ascending
  std::uint32_t* count;    // [1] how many
  std::uint32_t* expert;   // [rows]
  std::uint32_t* token;    // [rows]
  float* weight;           // [rows]
  std::uint32_t* rows_of;  // [tokens][used] a token's rows, ascending
};

struct ExpertMatrices {
  MatrixSet weights;
  const float* bias;          // of expert 0's first row, or null
  std::uint64_t bias_stride;  // floats from one expert's to the next's
  const float* scale;         // [experts] or null
};

// Everything that the steps of an Experts operation share.
struct ExpertsSlot {
  struct Input {
    quant::ActivationKind kind;
    std::byte* prepared;  // of all tokens
    std::byte* gathered;  // of the experts' rows; of one token alone nothing is gathered
  };
  std::uint32_t experts;
  std::uint32_t used;
  const ChosenExpert* chosen;  // [tokens][used]
  ExpertTables tables;
  const float* x;  // [tokens][width]
  std::uint64_t width;
  std::array<Input, 2> inputs;  // one for each kind of activations that gate and up multiply with
  std::uint32_t input_count;
  bool gated;
  ExpertMatrices gate, up, down;  // without a gate, up is what the activation is of
  std::uint32_t gate_input, up_input;
  float* gate_out;  // [rows][gate.weights.width()]; without a gate, null
  float* up_out;    // [rows][up.weights.width()]
  Activation function;
  bool weights_before;  // weights multiply what gate and up make, not the result
  quant::ActivationKind hidden_kind;
  std::byte* hidden;             // prepared for down, expert after expert
  float* results;                // [kFewExpertTokens * used][down.weights.width()]
  float* workspace;              // for each thread [tokens][kExpertStride]
  std::size_t workspace_floats;  // of each thread's
  float* out;                    // [tokens][out_width]
  std::uint64_t out_width;
  bool after_select;
};

struct ExpertsStep {
  enum class Phase : std::uint8_t {
    Begin,   // who has which tokens; the input is prepared
    Gather,  // the prepared rows of each expert
    Up,      // products with gate and up
    Hidden,  // the activation, prepared for down
    Down,    // products with down; of many tokens also their sums
    Sum,     // of few tokens
  };
  Phase phase;
  const ExpertsSlot* slot;
};

// out[t][h] = (W_h x[t][h], then the values of x[t][h] that are copied).
struct HeadLinearStep {
  enum class Phase : std::uint8_t { Prepare, Multiply };
  Phase phase;
  MatrixSet weights;  // transposed: of `columns` rows of `rows` values each
  std::uint32_t heads;
  std::uint32_t columns, rows, copied;
  bool transposed;
  quant::ActivationKind kind;
  std::byte* prepared;  // [heads], each activation_bytes(kind, columns, tokens) apart; not where rows are read singly
  const float* x;       // [tokens][heads][columns + copied]
  float* out;           // [tokens][heads][rows + copied]
  bool after_select;

  // Matrices that are to be read the other way, or do not begin with tiles, are decoded row by row.
  [[nodiscard]] bool by_rows() const { return transposed || !weights.aligned(); }
};
// Values of a row of these.
constexpr std::uint32_t kMostSingleColumns = 4096;

void run(const RouteStep& step, const Pass& pass, WorkQueue& queue);
void run(const ExpertsStep& step, std::size_t index, const Pass& pass, WorkQueue& queue, int thread);
void run(const HeadLinearStep& step, std::size_t index, const Pass& pass, WorkQueue& queue, int thread);

}  // namespace loadline::cpu
