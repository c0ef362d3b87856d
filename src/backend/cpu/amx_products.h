// The kernels for AMX with bfloat16: products of many tokens on the matrix unit, everything else as for AVX-512.
//
// For 256 values after the other, two tiles of the weights are converted, then multiplied with all tokens of a block,
// then the next two. Their sums stay in the L2 cache meanwhile, and so do the tokens' 256 values.
#pragma once

#include "backend/cpu/amx_operands.h"
#include "backend/cpu/generic_results.h"
#include "backend/cpu/kernel_sets.h"
#include "backend/cpu/products.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu {

namespace amx {
#define LOADLINE_PRODUCT(format, way) extern const Operands k##format;
#include "backend/cpu/kernels.inc"
}  // namespace amx

namespace {

using quant::ActivationKind;

constexpr std::uint32_t kBlockTiles = quant::kMatrixRows / kTileRows;
constexpr std::size_t kSumsOfFour = 1024;  // floats of 2 x 2 tiles of the unit

// What quant::matrix_workspace() has room for.
struct Workspace {
  explicit Workspace(std::byte* memory)
      : weights{memory, memory + 2 * kOperand},
        copy(memory + 4 * kOperand),
        sums(reinterpret_cast<float*>(memory + 6 * kOperand)) {}
  std::byte* weights[2];  // operands in up to two parts
  std::byte* copy;        // 256 values of 16 rows of any format
  float* sums;
};

const Operands& operands_of(TensorType type) {
  switch (type) {
#define LOADLINE_PRODUCT(format, way) \
  case TensorType::format: return amx::k##format;
#include "backend/cpu/kernels.inc"
  }
  __builtin_unreachable();
}

// Gives the unit its tiles, all of 16 rows of 64 bytes, for as long as this exists.
class Unit {
 public:
  Unit() {
    struct alignas(64) {
      std::uint8_t palette = 1, start = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } shapes;
    for (int i = 0; i < 8; ++i) {
      shapes.row_bytes[i] = 64;
      shapes.rows[i] = 16;
    }
    _tile_loadconfig(&shapes);
  }
  ~Unit() { _tile_release(); }
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;
};

// Weights of two tiles that are fetched into the cache behind the one next to the core while others are multiplied:
// with every step `lines` cache lines of each. (The tokens' values come in long runs, which the hardware fetches.)
struct Ahead {
  const std::byte* at[2];
  std::size_t lines;
  LOADLINE_INLINE void fetch(std::size_t step) const {
    for (const std::byte* tile : at) {
      for (std::size_t n = 0; n < lines; ++n) V::prefetch_far(tile + (step * lines + n) * 64);
    }
  }
};

// Adds 256 values of two tiles times those of two groups of 16 tokens to sums[2 groups][2 tiles][16][16]. Of the
// products of parts, that of the two lower ones is too small to matter.
template <int activation_parts, int weight_parts>
void multiply(const std::byte* const (&x)[2], const std::byte* const (&w)[2], bool first, float* sums,
              const Ahead& ahead) {
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums + 256, 64);
    _tile_loadd(2, sums + 512, 64);
    _tile_loadd(3, sums + 768, 64);
  }
  for (std::size_t step = 0; step < kOperand; step += kUnitTile) {
    unrolled<activation_parts + weight_parts - 1>(LOADLINE_EACH(part) {
      constexpr std::size_t kX = part < activation_parts ? part * kOperand : 0;
      constexpr std::size_t kW = part < activation_parts ? 0 : kOperand;
      _tile_loadd(4, x[0] + kX + step, 64);
      _tile_loadd(6, w[0] + kW + step, 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (part == 0) {  // the next sums
        unrolled<8>(LOADLINE_EACH(i) { V::prefetch(sums + kSumsOfFour + step / 8 + i * 16); });
        ahead.fetch(step / kUnitTile);
      }
      _tile_loadd(7, w[1] + kW + step, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, x[1] + kX + step, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    });
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
  _tile_stored(2, sums + 512, 64);
  _tile_stored(3, sums + 768, 64);
}

constexpr std::uint32_t halved(std::uint32_t count) { return (count + 1) / 2; }
constexpr std::uint32_t groups_of(std::uint32_t tokens) { return (tokens + kTileTokens - 1) / kTileTokens; }

// A rectangle of a product: tiles of a matrix times groups of 16 tokens.
struct Rectangle {
  const Matrix* matrix;
  std::uint64_t first_tile;
  std::uint32_t tiles;
  const std::byte* activations;  // of all tokens
  std::uint32_t first_group;
  std::uint32_t groups;
  std::uint32_t all_groups;
};

// 256 values of a tile as an operand, either where they are or in `target`.
const std::byte* weights_at(const Operands& operands, const Tile& tile, std::uint32_t b, std::byte* copy,
                            std::byte* target) {
  const std::byte* values = tile.data + b * operands.bytes;
  if (operands.weights == nullptr) {
    if (b < tile.direct) return values;
    copy_superblock(tile, b, target);
    return target;
  }
  if (b >= tile.direct) {
    copy_superblock(tile, b, copy);
    values = copy;
  }
  operands.weights(values, target);
  return target;
}

// sums[pair of tiles][pair of groups][2 groups][2 tiles][16 tokens][16 rows] of the rectangle. As soon as the four
// tiles of a pair of either are complete, and in the cache next to the core, finish(pair of tiles, pair of groups,
// their sums) is called. False when stopped.
template <class Finish>
bool products(const Rectangle& r, const StopFlag* stop, const Workspace& workspace, float* sums, Finish&& finish) {
  const Operands& operands = operands_of(r.matrix->type);
  const auto multiply_four = operands.activation_parts == 1 ? multiply<1, 1>
                             : operands.weight_parts == 1   ? multiply<2, 1>
                                                            : multiply<2, 2>;
  const std::size_t group_bytes = static_cast<std::size_t>(operands.activation_parts) * kOperand;
  const auto superblocks = static_cast<std::uint32_t>((r.matrix->columns + 255) / 256);
  const std::uint32_t group_pairs = halved(r.groups);
  const std::size_t steps = kSteps * group_pairs;  // during which the next pair of tiles is fetched
  const std::size_t lines = (operands.bytes / 64 + steps - 1) / steps;
  for (std::uint32_t b = 0; b < superblocks; ++b) {
    if (stopped(stop)) return false;
    const std::byte* x = r.activations + (std::size_t{b} * r.all_groups + r.first_group) * group_bytes;
    for (std::uint32_t i = 0; i < r.tiles; i += 2) {
      const Tile tiles[2] = {tile_of(*r.matrix, r.first_tile + i),
                             tile_of(*r.matrix, r.first_tile + (i + 1 < r.tiles ? i + 1 : i))};
      const std::byte* w[2];
      for (int n = 0; n < 2; ++n) w[n] = weights_at(operands, tiles[n], b, workspace.copy, workspace.weights[n]);
      const Tile next = tile_of(*r.matrix, i + 2 < r.tiles ? r.first_tile + i + 2 : r.first_tile);
      const std::byte* next_w = next.data + (i + 2 < r.tiles ? b : b + 1) * operands.bytes;
      for (std::uint32_t g = 0; g < r.groups; g += 2) {
        const std::byte* pair[2] = {x + g * group_bytes, x + (g + 1 < r.groups ? g + 1 : g) * group_bytes};
        const std::size_t portion = g / 2 * kSteps * lines * 64;
        const Ahead ahead = {{next_w + portion, next_w + operands.bytes * superblocks + portion}, lines};
        float* four = sums + (std::size_t{i / 2} * group_pairs + g / 2) * kSumsOfFour;
        multiply_four(pair, w, b == 0, four, ahead);
        if (b + 1 == superblocks) finish(i / 2, g / 2, four);
      }
    }
  }
  return true;
}

// The place of the sums of two tiles and two groups of tokens among a task's results.
struct Place {
  std::uint64_t first_row, end_row;      // of the first tile, and of the rows that are wanted
  std::uint32_t first_token, end_token;  // of the first group, and of the batch

  // Calls each(row, rows, token, where its 16 sums are).
  template <class Each>
  LOADLINE_INLINE void each(Each&& each) const {
    const std::uint32_t tokens = smaller(end_token - first_token, 2 * kTileTokens);
    for (std::uint32_t t = 0; t < tokens; ++t) {
      for (std::uint32_t n = 0; n < 2; ++n) {
        const std::uint64_t row = first_row + n * std::uint64_t{kTileRows};
        if (row >= end_row) break;
        each(row, smaller(end_row - row, kTileRows), first_token + t,
             (t / kTileTokens * 2 + n) * std::size_t{256} + t % kTileTokens * kTileRows);
      }
    }
  }
};

// A task's results block by block: `block` tiles times kMatrixBlock tokens. Calls run(rectangle without its operands,
// place), where place(pair of tiles, pair of groups) is that of their sums, until it returns false.
template <class Run>
void each_block(std::uint64_t rows, std::uint32_t tokens, std::uint64_t begin_tile, std::uint64_t end_tile,
                std::uint32_t block, Run&& run) {
  const std::uint64_t end_row = end_tile * kTileRows < rows ? end_tile * kTileRows : rows;
  for (std::uint32_t first = 0; first < tokens; first += quant::kMatrixBlock) {
    for (std::uint64_t i = begin_tile; i < end_tile; i += block) {
      const Rectangle rectangle{nullptr,
                                i,
                                smaller(end_tile - i, block),
                                nullptr,
                                first / kTileTokens,
                                groups_of(smaller(tokens - first, quant::kMatrixBlock)),
                                groups_of(tokens)};
      const auto place = [&](std::uint32_t tile_pair, std::uint32_t group_pair) {
        return Place{(i + std::uint64_t{2} * tile_pair) * kTileRows, end_row, first + group_pair * 2 * kTileTokens,
                     tokens};
      };
      if (!run(rectangle, place)) return;
    }
  }
}

}  // namespace

namespace amx {

void matmul(const MatmulTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop) {
  if (task.workspace == nullptr) return avx512vbmi::matmul(task, begin_tile, end_tile, stop);
  const Unit unit;
  const Workspace workspace(task.workspace);
  each_block(task.weights.rows, task.tokens, begin_tile, end_tile, kBlockTiles, [&](Rectangle rectangle, auto place) {
    rectangle.matrix = &task.weights;
    rectangle.activations = task.activations;
    return products(rectangle, stop, workspace, workspace.sums,
                    [&](std::uint32_t tile_pair, std::uint32_t group_pair, const float* sums) {
                      place(tile_pair, group_pair)
                          .each([&](std::uint64_t row, std::uint32_t rows, std::uint32_t token, std::size_t at)
                                    __attribute__((always_inline)) { finish(task, row, rows, token, sums + at); });
                    });
  });
}

void gated(const GatedTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop) {
  if (task.workspace == nullptr) return avx512vbmi::gated(task, begin_tile, end_tile, stop);
  const Unit unit;
  const Workspace workspace(task.workspace);
  each_block(task.gate.rows, task.tokens, begin_tile, end_tile, kBlockTiles / 2, [&](Rectangle rectangle, auto place) {
    float* const gates = workspace.sums;
    float* const ups = gates + std::size_t{halved(rectangle.tiles)} * halved(rectangle.groups) * kSumsOfFour;
    rectangle.matrix = &task.gate;
    rectangle.activations = task.gate_activations;
    if (!products(rectangle, stop, workspace, gates, [](auto...) {})) return false;
    rectangle.matrix = &task.up;
    rectangle.activations = task.up_activations;
    return products(
        rectangle, stop, workspace, ups, [&](std::uint32_t tile_pair, std::uint32_t group_pair, const float* sums) {
          const float* gate_sums = gates + (sums - ups);
          place(tile_pair, group_pair)
              .each([&](std::uint64_t row, std::uint32_t rows, std::uint32_t token, std::size_t at) __attribute__((
                        always_inline)) { finish_gated(task, row, rows, token, gate_sums + at, sums + at); });
        });
  });
}

void prepare(ActivationKind kind, const float* x, std::uint64_t stride, std::uint64_t columns, std::uint32_t begin,
             std::uint32_t end, std::uint32_t tokens, std::byte* out) {
  switch (kind) {
    case ActivationKind::BfloatTiles: return activation_tiles<1>(x, stride, columns, begin, end, tokens, out);
    case ActivationKind::SplitTiles: return activation_tiles<2>(x, stride, columns, begin, end, tokens, out);
    default: return avx512::prepare(kind, x, stride, columns, begin, end, tokens, out);
  }
}

}  // namespace amx
}  // namespace loadline::cpu
