// Products of quantised tiles with the 8-bit activations of many tokens, written once over the primitives of an
// instruction set and the formats: 256 values of up to kGroupTiles tiles are unpacked into the L1 cache and used for a
// block of tokens, in register tiles of V::kTiles tiles times V::kTokens tokens. Internal linkage. What comes out is to
// the bit what generic_products.h has for few tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "backend/cpu/generic_codebooks.h"
#include "backend/cpu/generic_formats.h"
#include "backend/cpu/generic_products.h"
#include "backend/cpu/products.h"
#include "backend/cpu/tile.h"
#include "quant/activation.h"

namespace loadline::cpu {
namespace {

// How the scales of an unpacked superblock come: as floats; as floats to be multiplied by a factor that all 256 values
// share; or as integers, likewise with a factor.
enum class Scales : std::uint8_t { Whole, Factor, Integers };

// What a register tile must know of a format: values per scale (256 where the scales are folded into the weights), the
// largest weight as V::Dots has it, what is to be subtracted from the weights as they were unpacked, and how mins and
// scales come.
template <int group, int most, int bias, Mins mins_kind, Scales scales_kind>
struct Shape {
  static constexpr int kGroup = group;
  static constexpr int kMost = most;
  static constexpr int kBias = bias;
  static constexpr Mins kMins = mins_kind;
  static constexpr Scales kScales = scales_kind;
};
// Weights whose signs come apart are raised where products are summed in 16 bits, so that none is negative: by the
// smallest power of two above their magnitudes.
template <class Format>
constexpr int raised_by() {
  int by = 1;
  while (by <= Format::kMost) by *= 2;
  return by;
}
template <class Format>
constexpr bool kRaised = V::kNarrow && Format::kSigned && Format::kMost < 128;

template <class Format>
constexpr auto shape_of() {
  constexpr int kGroup = kFolded<Format> ? 256 : Format::kGroup;
  constexpr Mins kMins = Format::kMins;
  constexpr Scales kScales = kFolded<Format>        ? Scales::Whole
                             : kIntegerSums<Format> ? Scales::Integers
                             : Format::kFactor      ? Scales::Factor
                                                    : Scales::Whole;
  if constexpr (kRaised<Format>) {
    return Shape<kGroup, raised_by<Format>() + Format::kMost, raised_by<Format>(), kMins, kScales>{};
  } else if constexpr (Format::kSigned || (Format::kBias != 0 && !V::kNarrow)) {
    return Shape<kGroup, 255, V::kSignedOffset, kMins, kScales>{};
  } else if constexpr (!V::kNarrow) {
    return Shape<kGroup, 127, 0, kMins, kScales>{};
  } else {
    return Shape<kGroup, Format::kMost, Format::kBias, kMins, kScales>{};
  }
}
template <class Format>
using ShapeOf = decltype(shape_of<Format>());

// 256 values of a tile, unpacked: weights of 4 values [64][16 rows][4], scales per group, mins.
struct alignas(64) Unpacked {
  std::byte weights[64][64];
  union {
    float scales[16][16];
    std::byte integers[16][64];  // each twice, as shorts (scale_twice)
  };
  union {                    // of a format that has mins, or integer scales and a bias
    std::byte pairs[8][64];  // two mins or scales as shorts, in the order of Int8Block's sums
    float minimums[8][16];   // divided by -128, to be multiplied with starts32
  };
  float negative_dmin[16];
  float factor[16];
};

// Of groups g and g + 2, as Int8Block has their sums beside each other.
template <class Format, int g>
LOADLINE_INLINE I pair_of_scales(const typename Format::Header& header) {
  const I low = V::and_(scale_twice<Format, g>(header), V::ints(0x0000FFFF));
  return V::or_and(low, scale_twice<Format, g + 2>(header), V::ints(static_cast<int>(0xFFFF0000)));
}

template <class Format>
LOADLINE_INLINE void unpack_scales(const typename Format::Header& header, const std::byte* p, Unpacked& out) {
  using S = ShapeOf<Format>;
  constexpr int kGroups = 256 / S::kGroup;
  if constexpr (kFolded<Format>) {
    V::store_f(out.scales[0], Format::folded_scale(header));
  } else if constexpr (S::kScales == Scales::Integers) {
    unrolled<kGroups>(LOADLINE_EACH(g) { V::store(out.integers[g], scale_twice<Format, g>(header)); });
    if constexpr (S::kBias != 0) {
      static_assert(S::kMins == Mins::None);
      unrolled<kGroups / 2>(
          LOADLINE_EACH(i) { V::store(out.pairs[i], pair_of_scales<Format, i / 2 * 4 + i % 2>(header)); });
    }
  } else {
    unrolled<kGroups>(LOADLINE_EACH(g) { V::store_f(out.scales[g], scale_less_factor<Format, g>(header, p)); });
  }
  if constexpr (S::kScales != Scales::Whole) V::store_f(out.factor, Format::factor(header, p));
}

template <class Format>
LOADLINE_INLINE void unpack_mins(const typename Format::Header& header, const std::byte* p, Unpacked& out) {
  if constexpr (Format::kMins == Mins::Float) {
    unrolled<8>(
        LOADLINE_EACH(g) { V::store_f(out.minimums[g], V::mul(Format::template minimum<g>(p), V::set(-1.0F / 128))); });
  } else if constexpr (Format::kMins != Mins::None) {
    for (int i = 0; i < (Format::kMins == Mins::Pairs16 ? 4 : 2); ++i) {
      const BytePairs mins = header.min_pairs(i);
      V::store(out.pairs[2 * i], mins.even);
      V::store(out.pairs[2 * i + 1], mins.odd);
    }
    V::store_f(out.negative_dmin, header.negative_dmin);
  }
}

template <class Format>
LOADLINE_INLINE void unpack(const std::byte* p, Unpacked& out) {
  const typename Format::Header header(p);
  constexpr int kGroups = Format::kSegmentGroups;
  unrolled<Format::kSegments>(LOADLINE_EACH(s) {
    const auto store = [&](auto offset, I weights)
                           __attribute__((always_inline)) { V::store(out.weights[offset / 4], weights); };
    if constexpr (kFolded<Format>) {
      typename Format::Folder folders[kGroups];
      unrolled<kGroups>(LOADLINE_EACH(i) {
        constexpr int kIndex = Format::template group_of<s>(i);
        folders[i] = Format::Folder::template of<kIndex>(header);
      });
      each_of_segment<Format, s>(p, [&](auto i, auto offset, auto weights)
                                        __attribute__((always_inline)) { store(offset, folders[i](weights)); });
    } else {
      each_of_segment<Format, s>(p, [&](auto, auto offset, auto weights) __attribute__((always_inline)) {
        if constexpr (kRaised<Format>) {
          store(offset, V::template biased<raised_by<Format>()>(weights));
        } else if constexpr (!V::kNarrow && !Format::kSigned && Format::kBias != 0) {
          store(offset, V::add8(weights, V::bytes(V::kSignedOffset - Format::kBias)));
        } else {
          store(offset, weights);
        }
      });
    }
  });
  unpack_scales<Format>(header, p, out);
  unpack_mins<Format>(header, p, out);
}

// Sum over the groups of a pair's number times the sum of the group's activations.
template <int group>
LOADLINE_INLINE I dot_pairs(const Unpacked& w, const Int8Block& x) {
  constexpr int kPairs = group == 16 ? 8 : 4;
  const std::int16_t* sums = group == 16 ? x.sums16 : x.sums32;
  I sum = V::zero();
  for (int i = 0; i < kPairs; ++i) sum = V::dot16(sum, V::load(w.pairs[i]), V::repeat(sums + 2 * i));
  return sum;
}

// What the mins add to 256 values of one unpacked tile and token.
template <class S>
LOADLINE_INLINE F unpacked_mins(const Unpacked& w, const Int8Block& x) {
  if constexpr (S::kMins == Mins::Float) {
    F sum = V::zero_f();
    for (int g = 0; g < 8; ++g) sum = V::fma(V::to_float(V::repeat(&x.starts32[g])), V::load_f(w.minimums[g]), sum);
    return sum;
  } else if constexpr (S::kMins != Mins::None) {
    constexpr int kGroup = S::kMins == Mins::Pairs16 ? 16 : 32;
    return V::mul(V::to_float(dot_pairs<kGroup>(w, x)), V::load_f(w.negative_dmin));
  }
  return V::zero_f();
}

// 256 values of V::kTiles tiles times `count` tokens, less the tokens' scales.
template <class S, int count>
LOADLINE_INLINE void multiply_with_floats(const Unpacked* w, const Int8Block* x, F (&sums)[count][V::kTiles]) {
  using Dots = V::Dots<S::kMost>;
#pragma GCC unroll 8
  for (int t = 0; t < count; ++t) {
#pragma GCC unroll 8
    for (int m = 0; m < V::kTiles; ++m) {
      sums[t][m] = S::kScales == Scales::Factor ? V::zero_f() : unpacked_mins<S>(w[m], x[t]);
    }
  }
  // An accumulator is kept over `steps` times eight (four for groups of 16) products of 4 values.
  constexpr int kUnits = S::kGroup == 16 ? 4 : 8;
  constexpr int kSteps = S::kGroup == 256 ? 8 : 1;
  for (int g = 0; g < 256 / S::kGroup; ++g) {
    Dots products[count][V::kTiles];
#pragma GCC unroll 8
    for (int t = 0; t < count; ++t) {
      const I start = start_of<S::kGroup, S::kBias>(x[t], g);
#pragma GCC unroll 8
      for (int m = 0; m < V::kTiles; ++m) products[t][m] = Dots::from(start);
    }
    for (int step = 0; step < kSteps; ++step) {
      const int first = (g * kSteps + step) * kUnits;
#pragma GCC unroll 8
      for (int c = 0; c < kUnits; ++c) {
        I weights[V::kTiles];
#pragma GCC unroll 8
        for (int m = 0; m < V::kTiles; ++m) weights[m] = V::load(w[m].weights[first + c]);
#pragma GCC unroll 8
        for (int t = 0; t < count; ++t) {
          const I values = V::repeat(&x[t].values[4 * (first + c)]);
#pragma GCC unroll 8
          for (int m = 0; m < V::kTiles; ++m) products[t][m].add(weights[m], values);
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < V::kTiles; ++m) {
      const F scale = V::load_f(w[m].scales[g]);
#pragma GCC unroll 8
      for (int t = 0; t < count; ++t) sums[t][m] = V::fma(V::to_float(products[t][m].total()), scale, sums[t][m]);
    }
  }
  if constexpr (S::kScales == Scales::Factor) {
#pragma GCC unroll 8
    for (int t = 0; t < count; ++t) {
#pragma GCC unroll 8
      for (int m = 0; m < V::kTiles; ++m) {
        sums[t][m] = V::fma(sums[t][m], V::load_f(w[m].factor), unpacked_mins<S>(w[m], x[t]));
      }
    }
  }
}

// The same with integer scales, which exist only where products are summed in 16 bits: scaling them widens them.
template <class S, int count>
LOADLINE_INLINE void multiply_with_integers(const Unpacked* w, const Int8Block* x, F (&sums)[count][V::kTiles]) {
  using Dots = V::Dots<S::kMost>;
  constexpr int kUnits = S::kGroup / 4;
  constexpr int kLength = Dots::run_at(0) < kUnits ? Dots::run_at(0) : kUnits;
  I whole[count][V::kTiles];
#pragma GCC unroll 8
  for (int t = 0; t < count; ++t) {
#pragma GCC unroll 8
    for (int m = 0; m < V::kTiles; ++m) {
      whole[t][m] = V::zero();
      if constexpr (S::kBias != 0) {  // minus the bias times every group's scale times the sum of its activations
        whole[t][m] = V::sub32(V::zero(), V::template shl32<log2_of(S::kBias)>(dot_pairs<S::kGroup>(w[m], x[t])));
      }
    }
  }
  for (int g = 0; g < 256 / S::kGroup; ++g) {
    Dots products[count][V::kTiles];
#pragma GCC unroll 8
    for (int t = 0; t < count; ++t) {
#pragma GCC unroll 8
      for (int m = 0; m < V::kTiles; ++m) products[t][m] = Dots::from(V::zero());
    }
#pragma GCC unroll 8
    for (int c = 0; c < kUnits; ++c) {
      I weights[V::kTiles];
#pragma GCC unroll 8
      for (int m = 0; m < V::kTiles; ++m) weights[m] = V::load(w[m].weights[g * kUnits + c]);
#pragma GCC unroll 8
      for (int t = 0; t < count; ++t) {
        const I values = V::repeat(&x[t].values[4 * (g * kUnits + c)]);
#pragma GCC unroll 8
        for (int m = 0; m < V::kTiles; ++m) {
          const auto scale = [&]() __attribute__((always_inline)) { return V::load(w[m].integers[g]); };
          products[t][m].template add_scaled<kLength>(Dots::pairs(weights[m], values), scale, whole[t][m]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < count; ++t) {
#pragma GCC unroll 8
    for (int m = 0; m < V::kTiles; ++m) {
      sums[t][m] = V::fma(V::to_float(whole[t][m]), V::load_f(w[m].factor), unpacked_mins<S>(w[m], x[t]));
    }
  }
}

// Adds 256 values of V::kTiles tiles times `count` tokens to out[token * stride + 16 * tile].
template <class S, int count>
void register_tile(const Unpacked* w, const Int8Block* x, float* out, std::size_t stride) {
  F sums[count][V::kTiles];
  if constexpr (S::kScales == Scales::Integers) {
    multiply_with_integers<S, count>(w, x, sums);
  } else {
    multiply_with_floats<S, count>(w, x, sums);
  }
#pragma GCC unroll 8
  for (int t = 0; t < count; ++t) {
    const F scale = V::set(x[t].scale);
#pragma GCC unroll 8
    for (int m = 0; m < V::kTiles; ++m) {
      float* target = out + static_cast<std::size_t>(t) * stride + kRows * static_cast<std::size_t>(m);
      V::store_f(target, V::fma(sums[t][m], scale, V::load_f(target)));
    }
  }
}

template <class S, int... count>
LOADLINE_INLINE auto register_tile_for(std::uint32_t tokens, std::integer_sequence<int, count...>) {
  using Function = void (*)(const Unpacked*, const Int8Block*, float*, std::size_t);
  static constexpr Function kFunctions[] = {register_tile<S, count + 1>...};
  return kFunctions[tokens - 1];
}

// Fetches the next bytes of several tiles in small portions.
class Fetcher {
 public:
  LOADLINE_INLINE Fetcher(const Tile* tiles, std::uint32_t count, std::size_t offset, std::size_t bytes)
      : tile_(tiles), end_tile_(tiles + count), offset_(offset), bytes_(bytes) {}
  LOADLINE_INLINE void fetch(std::size_t lines) {
    for (; lines > 0 && tile_ != end_tile_; --lines) {
      V::prefetch(tile_->data + offset_ + done_);
      done_ += 64;
      if (done_ < bytes_) continue;
      done_ = 0;
      ++tile_;
    }
  }

 private:
  const Tile* tile_;
  const Tile* end_tile_;
  std::size_t offset_, bytes_, done_ = 0;
};

// Up to here a superblock takes no longer to be multiplied than to be read, or not much.
constexpr std::uint32_t kFewTokens = 24;

// Products of many tokens in the making: sums[t * kTileSums + 16 * i + r] of `count` tiles and token_count tokens.
template <class Format>
class Many {
 public:
  Many(const Tile* tiles, std::uint32_t count, std::uint32_t token_count, const Destination& destination, float* sums)
      : tiles_(tiles), count_(count), token_count_(token_count), destination_(destination), sums_(sums) {}

  // `x`: the first token's first 256 values; those of its next are `tokens` further on.
  LOADLINE_INLINE void multiply(const Int8Block* x, std::uint32_t tokens) {
    const std::uint32_t superblocks = tiles_[0].superblocks;
    for (std::uint32_t b = 0; b < superblocks; ++b, x += tokens) {
      if (token_count_ > kFewTokens) {
        together(b, x);
      } else {
        in_turn(b, x);
      }
    }
  }

 private:
  using S = ShapeOf<Format>;
  static constexpr std::size_t kTileBytes = kRows * Format::kBytes;
  static constexpr std::size_t kAhead = 2;  // superblocks that a fetch takes to arrive
  static constexpr std::size_t kTileLines = (kTileBytes + 63) / 64;

  // Whole register tiles: the tiles that are missing repeat the last one, and their sums are not looked at.
  [[nodiscard]] LOADLINE_INLINE std::uint32_t padded() const {
    return (count_ + V::kTiles - 1) / V::kTiles * V::kTiles;
  }
  [[nodiscard]] LOADLINE_INLINE bool is_last(std::uint32_t b) const { return b + 1 == tiles_[0].superblocks; }

  LOADLINE_INLINE void unpack_tile(std::uint32_t i, std::uint32_t b, Unpacked& out) {
    const Tile& tile = tiles_[i < count_ ? i : count_ - 1];
    const std::byte* p = tile.data + b * kTileBytes;
    alignas(64) std::byte copy[kTileBytes];
    if (b >= tile.direct) {
      copy_superblock(tile, b, copy);
      p = copy;
    }
    unpack<Format>(p, out);
  }

  // Calls work(t, tokens) for parts of the tokens that are about the same: of few tokens a register tile cannot hide
  // the latency of the dot product.
  template <class Work>
  LOADLINE_INLINE void each_part(Work&& work) {
    std::uint32_t calls = (token_count_ + V::kTokens - 1) / V::kTokens;
    for (std::uint32_t t = 0; t < token_count_; --calls) {
      const std::uint32_t now = (token_count_ - t + calls - 1) / calls;
      work(t, now);
      t += now;
    }
  }
  LOADLINE_INLINE void multiply_part(std::uint32_t t, std::uint32_t now, const Int8Block* x, std::uint32_t i,
                                     const Unpacked* w) {
    const auto function = register_tile_for<S>(now, std::make_integer_sequence<int, V::kTokens>{});
    function(w, x + t, sums_ + std::size_t{t} * kTileSums + kRows * i, kTileSums);
  }

  // Multiplying takes longer than reading: each part of the tokens with all tiles, whose next bytes are fetched a
  // little at a time.
  LOADLINE_INLINE void together(std::uint32_t b, const Int8Block* x) {
    for (std::uint32_t i = 0; i < padded(); ++i) unpack_tile(i, b, unpacked_[i]);
    Fetcher next(tiles_, count_, (b + 1) * kTileBytes, kTileBytes);
    const std::size_t calls = (token_count_ + V::kTokens - 1) / V::kTokens * (padded() / V::kTiles);
    const std::size_t share = (count_ * (kTileBytes / 64 + 1) + calls - 1) / calls;
    each_part([&](std::uint32_t t, std::uint32_t now) __attribute__((always_inline)) {
      if (is_last(b)) destination_.fetch(t, t + now);
      for (std::uint32_t i = 0; i < padded(); i += V::kTiles) {
        next.fetch(share);
        multiply_part(t, now, x, i, unpacked_ + i);
      }
    });
  }

  // Both take about as long: a register tile's weights are unpacked and multiplied while memory works on what comes
  // where they came from, at a tile's end the tile so many further on.
  LOADLINE_INLINE void in_turn(std::uint32_t b, const Int8Block* x) {
    const std::size_t parts = (token_count_ + V::kTokens - 1) / V::kTokens;
    const std::size_t share = (kTileLines + parts - 1) / parts * 64;
    const std::uint32_t superblocks = tiles_[0].superblocks;
    const std::size_t ahead = b + kAhead < superblocks ? kAhead : (kGroupTiles - 1) * superblocks + kAhead;
    for (std::uint32_t i = 0; i < padded(); i += V::kTiles) {
      for (std::uint32_t m = 0; m < V::kTiles; ++m) unpack_tile(i + m, b, unpacked_[m]);
      const std::uint32_t end = V::kTiles < count_ - i ? i + V::kTiles : count_;
      std::size_t fetched = 0;
      each_part([&](std::uint32_t t, std::uint32_t now) __attribute__((always_inline)) {
        if (is_last(b) && i == 0) destination_.fetch(t, t + now);
        for (std::uint32_t m = i; m < end; ++m) {
          const std::byte* next = tiles_[m].data + (b + ahead) * kTileBytes + fetched;
          for (std::size_t line = 0; line < share; line += 64) V::prefetch(next + line);
        }
        fetched += share;
        multiply_part(t, now, x, i, unpacked_);
      });
    }
  }

  const Tile* tiles_;
  std::uint32_t count_, token_count_;
  const Destination& destination_;
  float* sums_;
  Unpacked unpacked_[kGroupTiles];
};

// sums[t * kTileSums + 16 * i + r] = row r of tile i times token first + t, for up to kGroupTiles tiles.
template <class Format>
void products_of_many(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t tokens,
                      std::uint32_t first, std::uint32_t token_count, const Destination& destination, float* sums) {
  for (std::size_t i = 0; i < std::size_t{token_count} * kTileSums; i += 16) V::store_f(sums + i, V::zero_f());
  const auto* x = reinterpret_cast<const Int8Block*>(activations) + first;
  Many<Format>(tiles, count, token_count, destination, sums).multiply(x, tokens);
}

// Up to V::kFewTokens are multiplied straight from the stream, V::kDirect at a time: unpacking anew for the next ones
// costs less than storing what was unpacked. Not where entries of a codebook are looked up.
template <class Format, int... i>
constexpr Products int8_products(std::integer_sequence<int, i...>) {
  return {sizeof...(i), {products_of_few<Format, i + 1>...}, products_of_many<Format>};
}
template <class Format>
constexpr int kFewOf = std::is_base_of_v<Codebook, Format> ? 4 : V::kFewTokens;
template <class Format>
constexpr Products kInt8Products = int8_products<Format>(std::make_integer_sequence<int, kFewOf<Format>>{});

}  // namespace
}  // namespace loadline::cpu
