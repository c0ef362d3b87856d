// What the products of one format and instruction set are, whoever compiled them: the joint between the translation
// units of formats and that of the matrix products (generic_matmul.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/tile.h"

namespace loadline::cpu {

// Streams of weights that a thread reads side by side. They alternate every few hundred bytes: where one stream's
// scales are decoded, or its page ends, the other keeps memory busy.
constexpr std::uint32_t kStreams = 2;

// Where the sums of a product go in the end: `lines` cache lines for each token, `stride` floats apart. Fetched while
// the last values are multiplied, as each token's are in another page.
struct Destination {
  const float* out;
  std::uint64_t stride;
  std::uint32_t lines;
  __attribute__((always_inline)) void fetch(std::uint32_t begin, std::uint32_t end) const {
    for (std::uint32_t t = begin; t < end; ++t) {
      for (std::uint32_t i = 0; i < lines; ++i) __builtin_prefetch(out + t * stride + std::size_t{16} * i, 1);
    }
  }
};

// few[n - 1] for n tokens up to few_tokens and up to kStreams tiles, many for more. A token's sums are the same to the
// bit with either, whatever tokens and tiles go with it.
struct Products {
  std::uint32_t few_tokens;
  void (*few[kFew])(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t tokens,
                    std::uint32_t first, float* sums);
  void (*many)(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t tokens,
               std::uint32_t first, std::uint32_t token_count, const Destination& destination, float* sums);
};

// How 256 values of 16 rows of a format come to the matrix unit.
struct Operands {
  void (*weights)(const std::byte* tile, std::byte* out);  // null: the tile is an operand
  std::size_t bytes;                                       // of 256 values of 16 rows
  int weight_parts;
  int activation_parts;
};

}  // namespace loadline::cpu
