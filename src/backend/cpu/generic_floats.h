// Products with weights of F32, F16 and BF16 in float32, written once over the primitives of an instruction set.
// Internal linkage. (The dot product of bfloat16 pairs is no faster than two multiply-adds on the processors measured:
// one per 2.25 cycles on Intel's Emerald Rapids; and it would cost the activations' low bits.)
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_products.h"

namespace loadline::cpu {
namespace {

// A format supplies, for a pointer `p` to values of a tile, 16 rows of value k as floats.
struct F32 {
  static constexpr std::size_t kBytes = 1024;  // of 256 values of one row
  static LOADLINE_INLINE F weights(const std::byte* p, std::size_t k) {
    return V::load_f(reinterpret_cast<const float*>(p + 64 * k));
  }
};

struct F16 {
  static constexpr std::size_t kBytes = 512;
  static LOADLINE_INLINE F weights(const std::byte* p, std::size_t k) { return V::halves(p + 32 * k); }
};

// In pairs: the low half of 4 bytes comes first.
struct BF16 {
  static constexpr std::size_t kBytes = 512;
  static LOADLINE_INLINE F weights(const std::byte* p, std::size_t k) {
    const I pair = V::load(p + 64 * (k / 2));
    return V::as_float(k % 2 == 0 ? V::shl32<16>(pair) : V::and_(pair, V::ints(-0x10000)));
  }
};

// Values of superblock b.
LOADLINE_INLINE std::size_t values_of(const Tile& tile, std::uint32_t b) {
  const std::uint64_t left = tile.matrix->columns - std::uint64_t{b} * 256;
  return left < 256 ? left : 256;
}

// Floats from one token's prepared activations to the next's.
LOADLINE_INLINE std::size_t activation_stride(const Tile& tile) { return (tile.matrix->columns + 15) / 16 * 16; }

// Values of a stream before it is the other one's turn.
constexpr int kRun = 16;

template <class Format, int n, int streams>
LOADLINE_INLINE void float_streams(const Tile* tiles, const float* x, std::size_t stride, float* sums) {
  constexpr std::size_t kTileBytes = kRows * Format::kBytes;
  constexpr std::size_t kRunBytes = kTileBytes / 256 * kRun;
  // One sum for each row and token, whatever tiles and tokens go together: it must not depend on them (products.h). The
  // two streams hide the latency of adding, as memory is slower still.
  alignas(64) std::byte copies[streams][kTileBytes];
  F totals[streams][n];
  unrolled<streams>(LOADLINE_EACH(s) { unrolled<n>(LOADLINE_EACH(t) { totals[s][t] = V::zero_f(); }); });
  for (std::uint32_t b = 0; b < tiles[0].superblocks; ++b, x += 256) {
    const std::size_t values = values_of(tiles[0], b);
    const std::byte* p[streams];
    for (int s = 0; s < streams; ++s) {
      p[s] = tiles[s].data + b * kTileBytes;
      if (b < tiles[s].direct) continue;
      copy_superblock(tiles[s], b, copies[s]);
      p[s] = copies[s];
    }
    std::size_t k = 0;
    for (; k + kRun <= values; k += kRun) {
      unrolled<streams>(LOADLINE_EACH(s) {
        const std::byte* units = p[s] + kTileBytes / 256 * k;
        unrolled<kRun>(LOADLINE_EACH(i) {
          constexpr int kShares = 64 / kRun;
          unrolled<kShares>(LOADLINE_EACH(share) { prefetch_ahead<kRunBytes, kShares * i + share>(units); });
          const F weights = Format::weights(units, i);
          unrolled<n>(
              LOADLINE_EACH(t) { totals[s][t] = V::fma(weights, V::set(x[t * stride + k + i]), totals[s][t]); });
        });
      });
    }
    for (; k < values; ++k) {
      unrolled<streams>(LOADLINE_EACH(s) {
        const F weights = Format::weights(p[s], k);
        unrolled<n>(LOADLINE_EACH(t) { totals[s][t] = V::fma(weights, V::set(x[t * stride + k]), totals[s][t]); });
      });
    }
  }
  unrolled<streams>(
      LOADLINE_EACH(s) { unrolled<n>(LOADLINE_EACH(t) { V::store_f(sums + kRows * (n * s + t), totals[s][t]); }); });
}

// As products_of_few().
template <class Format, int n>
void float_products_of_few(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t,
                           std::uint32_t first, float* sums) {
  const std::size_t stride = activation_stride(tiles[0]);
  const float* x = reinterpret_cast<const float*>(activations) + first * stride;
  static_assert(kStreams == 2);
  count == 1 ? float_streams<Format, n, 1>(tiles, x, stride, sums)
             : float_streams<Format, n, 2>(tiles, x, stride, sums);
}

// Values unpacked at a time: four tiles of them fill two thirds of the L1 cache.
constexpr std::size_t kValuesAtOnce = 128;

template <class Format, int count>
void float_register_tile(const float (*weights)[kValuesAtOnce * kRows], const float* x, std::size_t x_stride,
                         std::size_t values, float* out, std::size_t stride) {
  F sums[count][V::kTiles];
  unrolled<count>(LOADLINE_EACH(t) {
    unrolled<V::kTiles>(LOADLINE_EACH(m) { sums[t][m] = V::load_f(out + t * stride + kRows * m); });
  });
  for (std::size_t k = 0; k < values; ++k) {
    F w[V::kTiles];
    unrolled<V::kTiles>(LOADLINE_EACH(m) { w[m] = V::load_f(weights[m] + kRows * k); });
    unrolled<count>(LOADLINE_EACH(t) {
      const F value = V::set(x[t * x_stride + k]);
      unrolled<V::kTiles>(LOADLINE_EACH(m) { sums[t][m] = V::fma(w[m], value, sums[t][m]); });
    });
  }
  unrolled<count>(LOADLINE_EACH(t) {
    unrolled<V::kTiles>(LOADLINE_EACH(m) { V::store_f(out + t * stride + kRows * m, sums[t][m]); });
  });
}

template <class Format, int... count>
LOADLINE_INLINE auto float_register_tile_for(std::uint32_t tokens, std::integer_sequence<int, count...>) {
  using Function = decltype(&float_register_tile<Format, 1>);
  static constexpr Function kFunctions[] = {float_register_tile<Format, count + 1>...};
  return kFunctions[tokens - 1];
}

// As products_of_many().
template <class Format>
void float_products_of_many(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t,
                            std::uint32_t first, std::uint32_t token_count, const Destination& destination,
                            float* sums) {
  constexpr std::size_t kTileBytes = kRows * Format::kBytes;
  alignas(64) float unpacked[kGroupTiles][kValuesAtOnce * kRows];
  alignas(64) std::byte copy[kTileBytes];
  for (std::size_t i = 0; i < std::size_t{token_count} * kTileSums; i += 16) V::store_f(sums + i, V::zero_f());
  const std::size_t stride = activation_stride(tiles[0]);
  const float* x = reinterpret_cast<const float*>(activations) + first * stride;
  const std::uint32_t padded = (count + V::kTiles - 1) / V::kTiles * V::kTiles;
  for (std::uint32_t b = 0; b < tiles[0].superblocks; ++b, x += 256) {
    const std::size_t values = values_of(tiles[0], b);
    for (std::size_t begin = 0; begin < values; begin += kValuesAtOnce) {
      const std::size_t now = values - begin < kValuesAtOnce ? values - begin : kValuesAtOnce;
      for (std::uint32_t i = 0; i < padded; ++i) {
        const Tile& tile = tiles[i < count ? i : count - 1];
        const std::byte* p = tile.data + b * kTileBytes;
        if (b >= tile.direct) {
          copy_superblock(tile, b, copy);
          p = copy;
        }
        for (std::size_t k = 0; k < now; ++k) V::store_f(unpacked[i] + kRows * k, Format::weights(p, begin + k));
      }
      std::uint32_t calls = (token_count + V::kTokens - 1) / V::kTokens;
      for (std::uint32_t t = 0; t < token_count; --calls) {
        const std::uint32_t block = (token_count - t + calls - 1) / calls;
        if (b + 1 == tiles[0].superblocks && begin == 0) destination.fetch(t, t + block);
        const auto function = float_register_tile_for<Format>(block, std::make_integer_sequence<int, V::kTokens>{});
        for (std::uint32_t i = 0; i < padded; i += V::kTiles) {
          function(unpacked + i, x + t * stride + begin, stride, now, sums + std::size_t{t} * kTileSums + kRows * i,
                   kTileSums);
        }
        t += block;
      }
    }
  }
}

template <class Format>
constexpr Products kFloatProducts = {4,
                                     {float_products_of_few<Format, 1>, float_products_of_few<Format, 2>,
                                      float_products_of_few<Format, 3>, float_products_of_few<Format, 4>},
                                     float_products_of_many<Format>};

}  // namespace
}  // namespace loadline::cpu
