// The matrix products of the table: which format's functions, which tiles, and what happens to the sums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_results.h"
#include "backend/cpu/kernel_sets.h"
#include "backend/cpu/products.h"
#include "backend/cpu/tile.h"

namespace loadline::cpu {

// The set that has the other products, where this one has those with tables alone.
#ifndef LOADLINE_REST
#define LOADLINE_REST LOADLINE_ISA
#endif

#define LOADLINE_DECLARE_OF(set, format) \
  namespace set {                        \
  extern const Products k##format;       \
  }
#define LOADLINE_PRODUCT(format, way) LOADLINE_DECLARE_OF(LOADLINE_REST, format)
#define LOADLINE_TABLES(format, way) LOADLINE_DECLARE_OF(LOADLINE_ISA, format)
#include "backend/cpu/kernels.inc"
#undef LOADLINE_DECLARE_OF

namespace {

const Products& products_for(TensorType type) {
  switch (type) {
#define LOADLINE_PRODUCT(format, way) \
  case TensorType::format: return LOADLINE_REST::k##format;
#define LOADLINE_TABLES(format, way) \
  case TensorType::format: return LOADLINE_ISA::k##format;
#include "backend/cpu/kernels.inc"
  }
  __builtin_unreachable();
}

// Tokens whose sums are kept at a time, multiples of the register tile's. Best is a block whose activations stay in the
// L2 cache while the tiles go by; where that would be few tokens, unpacking the weights costs more than it saves, and
// the activations come from the next cache instead.
constexpr std::uint32_t kTokenStep = 12;  // a multiple of the tokens of every set's register tile
constexpr std::uint32_t kMostTokens = 264;
constexpr std::uint32_t kWorthwhileTokens = 144;
constexpr std::size_t kActivationBytes = std::size_t{1280} << 10;
LOADLINE_INLINE std::uint32_t token_block(const Matrix& weights, std::uint32_t tokens) {
  const std::size_t each = (weights.columns + 255) / 256 * sizeof(quant::Int8Block);
  const std::size_t fitting = kActivationBytes / each / kTokenStep * kTokenStep;
  const std::uint32_t most =
      fitting < kWorthwhileTokens || fitting > kMostTokens ? kMostTokens : static_cast<std::uint32_t>(fitting);
  // Blocks of about the same size: a small last one would unpack all weights for little.
  const std::uint32_t blocks = (tokens + most - 1) / most;
  return ((tokens + blocks - 1) / blocks + kTokenStep - 1) / kTokenStep * kTokenStep;
}

// Tiles of each stream whose sums are kept before they are written. A write to where no cache has the line costs as
// much as reading 6 KiB of weights when it comes alone (measured on an Intel server processor); several together,
// little more.
constexpr std::uint32_t kHeld = 16;
static_assert(kRunTiles % kHeld == 0);

// kStreams runs of tiles that are read side by side, each from its first tile to its last without a gap, so that what
// is fetched ahead at a tile's end is what comes next: a range and those alongside, or the range's equal parts, of
// which the last may be shorter.
struct Streams {
  LOADLINE_INLINE Streams(std::uint64_t begin_tile, std::uint64_t end_tile, std::uint64_t alongside)
      : begin(begin_tile),
        end(end_tile + alongside),
        length(alongside != 0 ? end_tile - begin_tile : (end_tile - begin_tile + kStreams - 1) / kStreams),
        distance(alongside != 0 ? alongside : length) {
    static_assert(kStreams == 2);
  }
  [[nodiscard]] LOADLINE_INLINE std::uint64_t tile(std::uint32_t stream, std::uint64_t i) const {
    return begin + stream * distance + i;
  }
  // How many of the parts have a tile i.
  [[nodiscard]] LOADLINE_INLINE std::uint32_t count(std::uint64_t i) const {
    std::uint32_t n = 1;
    while (n < kStreams && tile(n, i) < end) ++n;
    return n;
  }
  // Calls result(row, rows, h, t, at) for tokens t of the tiles [first, first + held) of every part: their sums begin
  // at float `at` of what the products of number first + h wrote.
  template <class Result>
  LOADLINE_INLINE void each_result(std::uint64_t first, std::uint32_t held, std::uint64_t matrix_rows,
                                   std::uint32_t tokens, Result&& result) const {
    for (std::uint32_t h = 0; h < held; ++h) {
      for (std::uint32_t s = 0; s < count(first + h); ++s) {
        const std::uint64_t row = tile(s, first + h) * kTileRows;
        const std::uint32_t rows = smaller(matrix_rows - row, kTileRows);
        for (std::uint32_t t = 0; t < tokens; ++t) {
          result(row, rows, h, t, std::size_t{s * tokens + t} * kTileRows);
        }
      }
    }
  }
  std::uint64_t begin, end, length, distance;
};

// Sums of a few tokens and the tiles [first, first + held) of every part, as Streams::each_result wants them.
LOADLINE_INLINE void multiply_held(const Products& products, const Matrix& matrix, const std::byte* activations,
                                   std::uint32_t tokens, const Streams& streams, std::uint64_t first,
                                   std::uint32_t held, float (*sums)[kStreams * kFew * kTileRows]) {
  const std::size_t row_bytes = quant::size_of(matrix.type, matrix.columns).value;
  for (std::uint32_t h = 0; h < held; ++h) {
    const std::uint32_t count = streams.count(first + h);
    Tile tiles[kStreams];
    for (std::uint32_t s = 0; s < count; ++s) tiles[s] = tile_of(matrix, streams.tile(s, first + h), row_bytes);
    products.few[tokens - 1](tiles, count, activations, tokens, 0, sums[h]);
  }
}

}  // namespace

namespace LOADLINE_ISA {

std::uint32_t few_tokens(TensorType type) { return products_for(type).few_tokens; }

void matmul(const MatmulTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop) {
  const Products& products = products_for(task.weights.type);
  if (task.tokens <= products.few_tokens) {
    alignas(64) float sums[kHeld][kStreams * kFew * kTileRows];
    const Streams streams(begin_tile, end_tile, task.alongside);
    for (std::uint64_t i = 0; i < streams.length; i += kHeld) {
      if (stopped(stop)) return;
      const std::uint32_t held = smaller(streams.length - i, kHeld);
      multiply_held(products, task.weights, task.activations, task.tokens, streams, i, held, sums);
      streams.each_result(i, held, task.weights.rows, task.tokens,
                          [&](std::uint64_t row, std::uint32_t rows, std::uint32_t h, std::uint32_t t, std::size_t at)
                              __attribute__((always_inline)) { finish(task, row, rows, t, sums[h] + at); });
    }
    return;
  }
  alignas(64) float sums[kMostTokens * kTileSums];
  const std::uint32_t block = token_block(task.weights, task.tokens);
  for (std::uint32_t first = 0; first < task.tokens; first += block) {
    const std::uint32_t tokens = smaller(task.tokens - first, block);
    for (std::uint64_t i = begin_tile; i < end_tile; i += kGroupTiles) {
      if (stopped(stop)) return;
      const std::uint32_t count = smaller(end_tile - i, kGroupTiles);
      Tile tiles[kGroupTiles];
      for (std::uint32_t n = 0; n < count; ++n) tiles[n] = tile_of(task.weights, i + n);
      const Destination destination{task.out + first * task.out_stride + i * kTileRows, task.out_stride, count};
      products.many(tiles, count, task.activations, task.tokens, first, tokens, destination, sums);
      for (std::uint32_t t = 0; t < tokens; ++t) {
        for (std::uint32_t n = 0; n < count; ++n) {
          finish(task, (i + n) * kTileRows, tiles[n].rows, first + t,
                 sums + std::size_t{t} * kTileSums + n * kTileRows);
        }
      }
    }
  }
}

void gated(const GatedTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop) {
  const Products& of_gate = products_for(task.gate.type);
  const Products& of_up = products_for(task.up.type);
  if (task.tokens <= smaller(of_gate.few_tokens, of_up.few_tokens)) {
    matmul(task.product_of_gate(), begin_tile, end_tile, stop);
    return matmul(task.product_of_up(), begin_tile, end_tile, stop);
  }
  alignas(64) float gates[kMostTokens * kTileSums];
  alignas(64) float ups[kMostTokens * kTileSums];
  const std::uint32_t block = token_block(task.gate, task.tokens);
  for (std::uint32_t first = 0; first < task.tokens; first += block) {
    const std::uint32_t tokens = smaller(task.tokens - first, block);
    for (std::uint64_t i = begin_tile; i < end_tile; i += kGroupTiles) {
      if (stopped(stop)) return;
      const std::uint32_t count = smaller(end_tile - i, kGroupTiles);
      Tile gate[kGroupTiles];
      Tile up[kGroupTiles];
      for (std::uint32_t n = 0; n < count; ++n) {
        gate[n] = tile_of(task.gate, i + n);
        up[n] = tile_of(task.up, i + n);
      }
      const Destination destination{task.out + first * task.out_stride + i * kTileRows, task.out_stride, count};
      of_gate.many(gate, count, task.gate_activations, task.tokens, first, tokens, {nullptr, 0, 0}, gates);
      of_up.many(up, count, task.up_activations, task.tokens, first, tokens, destination, ups);
      for (std::uint32_t t = 0; t < tokens; ++t) {
        for (std::uint32_t n = 0; n < count; ++n) {
          const std::size_t at = std::size_t{t} * kTileSums + n * kTileRows;
          finish_gated(task, (i + n) * kTileRows, gate[n].rows, first + t, gates + at, ups + at);
        }
      }
    }
  }
}

}  // namespace LOADLINE_ISA
}  // namespace loadline::cpu
