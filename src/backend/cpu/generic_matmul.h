// The matrix products of the table: which format's functions, which tiles, and what happens to the sums. Internal
// linkage.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_floats.h"
#include "backend/cpu/generic_products.h"
#include "backend/cpu/generic_vector.h"

namespace loadline::cpu {
namespace {

// The products of every format: few[n - 1] for n tokens and up to kStreams tiles, many for more.
struct Products {
  void (*few[kFew])(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t tokens,
                    std::uint32_t first, float* sums);
  void (*many)(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t tokens,
               std::uint32_t first, std::uint32_t token_count, float* sums);
};

template <class Format>
constexpr Products kInt8Products = {
    {products_of_few<Format, 1>, products_of_few<Format, 2>, products_of_few<Format, 3>, products_of_few<Format, 4>},
    products_of_many<Format>};
template <class Format>
constexpr Products kFloatProducts = {{float_products_of_few<Format, 1>, float_products_of_few<Format, 2>,
                                      float_products_of_few<Format, 3>, float_products_of_few<Format, 4>},
                                     float_products_of_many<Format>};

Products products_for(TensorType type) {
  switch (type) {
#define LOADLINE_PRODUCT(format, way) \
  case TensorType::format: return k##way##Products<format>;
#include "backend/cpu/kernels.inc"
  }
  __builtin_unreachable();
}

// Tokens whose sums are kept at a time, multiples of the register tile's. Best is a block whose activations stay in the
// L2 cache while the tiles go by; where that would be few tokens, unpacking the weights costs more than it saves, and
// the activations come from the next cache instead.
constexpr std::uint32_t kMostTokens = 240;
constexpr std::uint32_t kWorthwhileTokens = 144;
constexpr std::size_t kActivationBytes = std::size_t{1280} << 10;
LOADLINE_INLINE std::uint32_t token_block(const Matrix& weights) {
  const std::size_t each = (weights.columns + 255) / 256 * sizeof(Int8Block);
  const std::size_t fitting = kActivationBytes / each / 12 * 12;
  return fitting < kWorthwhileTokens || fitting > kMostTokens ? kMostTokens : static_cast<std::uint32_t>(fitting);
}

LOADLINE_INLINE bool stopped(const StopFlag* stop) { return stop != nullptr && stop->load(std::memory_order_relaxed); }

// One token's sums of a tile to their place.
LOADLINE_INLINE void finish(const MatmulTask& task, std::uint64_t row, std::uint32_t rows, std::uint32_t token,
                            const float* sums) {
  float* out = task.out + token * task.out_stride + row;
  if (rows == kTileRows) {
    F value = V::load_f(sums);
    if (task.bias != nullptr) value = V::add(value, V::load_f(task.bias + row));
    if (task.accumulate) value = V::add(value, V::load_f(out));
    V::store_f(out, value);
    return;
  }
  for (std::uint32_t r = 0; r < rows; ++r) {
    float value = sums[r];
    if (task.bias != nullptr) value += task.bias[row + r];
    if (task.accumulate) value += out[r];
    out[r] = value;
  }
}

LOADLINE_INLINE void finish_gated(const GatedTask& task, std::uint64_t row, std::uint32_t rows, std::uint32_t token,
                                  const float* gates, const float* ups) {
  float* out = task.out + token * task.out_stride + row;
  const F value = V::mul(silu(V::load_f(gates)), V::load_f(ups));
  if (rows == kTileRows) {
    V::store_f(out, value);
    return;
  }
  alignas(64) float values[kTileRows];
  V::store_f(values, value);
  for (std::uint32_t r = 0; r < rows; ++r) out[r] = values[r];
}

LOADLINE_INLINE std::uint32_t smaller(std::uint64_t a, std::uint32_t b) {
  return a < b ? static_cast<std::uint32_t>(a) : b;
}

void matmul(const MatmulTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop) {
  const Products products = products_for(task.weights.type);
  if (task.tokens <= kFew) {
    alignas(64) float sums[kStreams * kFew * kTileRows];
    for (std::uint64_t i = begin_tile; i < end_tile; i += kStreams) {
      if (stopped(stop)) return;
      const std::uint32_t count = smaller(end_tile - i, kStreams);
      Tile tiles[kStreams];
      for (std::uint32_t s = 0; s < count; ++s) tiles[s] = tile_of(task.weights, i + s);
      products.few[task.tokens - 1](tiles, count, task.activations, task.tokens, 0, sums);
      for (std::uint32_t s = 0; s < count; ++s) {
        for (std::uint32_t t = 0; t < task.tokens; ++t) {
          finish(task, (i + s) * kTileRows, tiles[s].rows, t, sums + (s * task.tokens + t) * kTileRows);
        }
      }
    }
    return;
  }
  alignas(64) float sums[kMostTokens * kTileSums];
  const std::uint32_t block = token_block(task.weights);
  for (std::uint32_t first = 0; first < task.tokens; first += block) {
    const std::uint32_t tokens = smaller(task.tokens - first, block);
    for (std::uint64_t i = begin_tile; i < end_tile; i += kGroupTiles) {
      if (stopped(stop)) return;
      const std::uint32_t count = smaller(end_tile - i, kGroupTiles);
      Tile tiles[kGroupTiles];
      for (std::uint32_t n = 0; n < count; ++n) tiles[n] = tile_of(task.weights, i + n);
      products.many(tiles, count, task.activations, task.tokens, first, tokens, sums);
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
  const Products of_gate = products_for(task.gate.type);
  const Products of_up = products_for(task.up.type);
  if (task.tokens <= kFew) {
    alignas(64) float gates[kStreams * kFew * kTileRows];
    alignas(64) float ups[kStreams * kFew * kTileRows];
    for (std::uint64_t i = begin_tile; i < end_tile; i += kStreams) {
      if (stopped(stop)) return;
      const std::uint32_t count = smaller(end_tile - i, kStreams);
      Tile gate[kStreams];
      Tile up[kStreams];
      for (std::uint32_t s = 0; s < count; ++s) {
        gate[s] = tile_of(task.gate, i + s);
        up[s] = tile_of(task.up, i + s);
      }
      of_gate.few[task.tokens - 1](gate, count, task.gate_activations, task.tokens, 0, gates);
      of_up.few[task.tokens - 1](up, count, task.up_activations, task.tokens, 0, ups);
      for (std::uint32_t s = 0; s < count; ++s) {
        for (std::uint32_t t = 0; t < task.tokens; ++t) {
          const std::size_t at = (s * task.tokens + t) * kTileRows;
          finish_gated(task, (i + s) * kTileRows, gate[s].rows, t, gates + at, ups + at);
        }
      }
    }
    return;
  }
  alignas(64) float gates[kMostTokens * kTileSums];
  alignas(64) float ups[kMostTokens * kTileSums];
  const std::uint32_t block = token_block(task.gate);
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
      of_gate.many(gate, count, task.gate_activations, task.tokens, first, tokens, gates);
      of_up.many(up, count, task.up_activations, task.tokens, first, tokens, ups);
      for (std::uint32_t t = 0; t < tokens; ++t) {
        for (std::uint32_t n = 0; n < count; ++n) {
          const std::size_t at = std::size_t{t} * kTileSums + n * kTileRows;
          finish_gated(task, (i + n) * kTileRows, gate[n].rows, first + t, gates + at, ups + at);
        }
      }
    }
  }
}

}  // namespace
}  // namespace loadline::cpu
