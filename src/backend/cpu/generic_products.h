// Products of quantised tiles with 8-bit activations, written once over the primitives of an instruction set and the
// formats. Internal linkage. Two ways, both without horizontal sums, as a lane is a row:
//   few tokens    straight from the tile's stream: a weight is unpacked, used for one to kFew tokens and forgotten;
//   where
//                 the sums of more are to be the same, the weights of 256 values stay in the L1 cache for all of them
//   many tokens   256 values of up to four tiles are unpacked into the L1 cache and used for a block of tokens, in
//                 register tiles of V::kTiles tiles times V::kTokens tokens
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "backend/cpu/generic_formats.h"
#include "backend/cpu/products.h"
#include "backend/cpu/tile.h"
#include "quant/activation.h"

namespace loadline::cpu {
namespace {

using quant::Int8Block;

constexpr int log2_of(int power) {
  int n = 0;
  while ((1 << n) < power) ++n;
  return n;
}

// What the integer accumulator of group g starts from, so that `bias` is subtracted from every weight.
template <int group, int bias>
LOADLINE_INLINE I start_of(const Int8Block& x, int g) {
  if constexpr (bias == 0) return V::zero();
  const I start = V::repeat(group == 16 ? &x.starts16[g] : group == 32 ? &x.starts32[g] : &x.start256);
  if constexpr (bias == 128) return start;
  return V::sra32<7 - log2_of(bias)>(start);
}

// Sum over four groups of min times sum of the activations, four shorts in the order 0 2 1 3, as the mins come.
LOADLINE_INLINE I dot_mins(I sum, BytePairs mins, const std::int16_t* sums) {
  sum = V::dot16(sum, mins.even, V::repeat_anew(sums));
  return V::dot16(sum, mins.odd, V::repeat_anew(sums + 2));
}

// What the mins of 256 values of 16 rows add, less the token's scale.
template <class Format>
LOADLINE_INLINE F mins_of(const typename Format::Header& header, const std::byte* p, const Int8Block& x) {
  F sum = V::zero_f();
  if constexpr (Format::kMins == Mins::Pairs32) {
    I mins = dot_mins(V::zero(), header.min_pairs(0), x.sums32);
    mins = dot_mins(mins, header.min_pairs(1), x.sums32 + 4);
    sum = V::mul(V::to_float(mins), header.negative_dmin);
  } else if constexpr (Format::kMins == Mins::Pairs16) {
    I mins = V::zero();
    unrolled<4>(LOADLINE_EACH(i) { mins = dot_mins(mins, header.min_pairs(i), x.sums16 + 4 * i); });
    sum = V::mul(V::to_float(mins), header.negative_dmin);
  } else if constexpr (Format::kMins == Mins::Float) {
    // The sums come as -128 times themselves.
    unrolled<8>(LOADLINE_EACH(g) {
      sum = V::fma(V::to_float(V::repeat(&x.starts32[g])), Format::template minimum<g>(p), sum);
    });
    sum = V::mul(sum, V::set(-1.0F / 128));
  }
  return sum;
}

// Fetches the line that comes `near` bytes after `p` in a stream into the cache next to the core, and the one after
// `far` bytes (0: none) into the cache behind it, which keeps memory busy over the end of a page, where the hardware
// stops fetching ahead.
template <std::size_t near, std::size_t far>
LOADLINE_INLINE void fetch_line(const std::byte* p) {
  V::prefetch(p + near);
  if constexpr (far != 0) V::prefetch_far(p + far);
}
// Fetches share `share` of 64 of as many bytes as are being multiplied, so that memory works while weights are
// multiplied and not in bursts between.
template <std::size_t bytes, int share>
LOADLINE_INLINE void prefetch_ahead(const std::byte* p) {
  constexpr std::size_t kLines = (bytes + 63) / 64;
  constexpr std::size_t kFirst = kLines * share / 64;
  constexpr std::size_t kLast = kLines * (share + 1) / 64;
  unrolled<static_cast<int>(kLast - kFirst)>(
      LOADLINE_EACH(i) { fetch_line<V::kNear, V::kFar>(p + (kFirst + i) * 64); });
}

// Whether groups' sums are multiplied by their scales as integers and added up over 256 values as such, which is exact
// and saves converting each: where they come in 16 bits anyway, or two of them fit the halves of a lane.
template <class Format>
constexpr bool kIntegerSums =
    Format::kByteScales && (V::kNarrow || (!kScalesApart<Format> && Format::kGroup * 127 * Format::kMost < 32768));

// 256 values of a token, with their magnitudes where those save work.
template <class Format>
class Values {
 public:
  using Dots = V::Dots<Format::kMost>;
  explicit LOADLINE_INLINE Values(const Int8Block& x) : x_(x.values) {
    if constexpr (kMagnitudes) {
      unrolled<4>(LOADLINE_EACH(i) { Dots::magnitudes(x.values + 64 * i, magnitudes_ + 64 * i); });
    }
  }
  // Adds the products of weights with the 4 values at `offset`.
  template <class Weights>
  LOADLINE_INLINE void multiply(Dots& sum, Weights weights, int offset) const {
    if constexpr (V::kNarrow) {
      sum.add_pairs(pairs(weights, offset));
    } else {
      sum.add(weights, V::repeat_anew(x_ + offset));
    }
  }
  // Only where products are summed in pairs.
  template <class Weights>
  LOADLINE_INLINE I pairs(Weights weights, int offset) const {
    if constexpr (!std::is_same_v<Weights, I>) {
      return V::multiply_signed(weights, V::repeat_anew(x_ + offset));
    } else if constexpr (kMagnitudes) {
      return Dots::pairs(weights, V::repeat_anew(x_ + offset), V::repeat_anew(magnitudes_ + offset));
    } else {
      return Dots::pairs(weights, V::repeat_anew(x_ + offset));
    }
  }

 private:
  static constexpr bool kMagnitudes = V::kNarrow && Format::kSigned && Format::kSymmetric;
  const std::int8_t* x_;
  alignas(64) std::int8_t magnitudes_[kMagnitudes ? 256 : 1];
};

// The scales of groups g and g + 2 in the halves of every lane.
template <class Format, int g>
LOADLINE_INLINE I scale_pair(const typename Format::Header& h) {
  constexpr int kByte = Format::scale_byte(g);
  static_assert(kByte < 2 && Format::scale_vector(g) == Format::scale_vector(g + 2));
  const BytePairs pairs = byte_pairs(h.scales[Format::scale_vector(g)]);
  const I pair = kByte == 0 ? pairs.even : pairs.odd;
  return Format::kScaleBias == 0 ? pair : V::sub16(pair, V::words(Format::kScaleBias));
}

// What the integer sum of 256 values starts from, so that the bias is subtracted from every weight: minus the bias
// times every group's scale times the sum of its activations.
template <class Format>
LOADLINE_INLINE I biased_start(const typename Format::Header& h, const Int8Block& x) {
  if constexpr (Format::kSigned || Format::kBias == 0) {
    return V::zero();
  } else {
    static_assert(Format::kGroup == 16 && Format::kScaleBias * Format::kBias == 128);
    I sum = V::zero();
    unrolled<4>(LOADLINE_EACH(i) { sum = dot_mins(sum, byte_pairs(h.scales[i]), x.sums16 + 4 * i); });
    // What the bias of the scales adds is 128 times the sum of all activations.
    return V::sub32(V::sub32(V::zero(), V::repeat(&x.start256)), V::shl32<log2_of(Format::kBias)>(sum));
  }
}

// The weights of group i of a segment come times 2 to the power of this from each_in_place.
template <class Format>
constexpr int place_of(int i) {
  if constexpr (Format::kByteScales && Format::kInPlace) return Format::kPlaces[i];
  return 0;
}
template <class Format, int s, class Sink>
LOADLINE_INLINE void each_in_place(const std::byte* p, Sink&& sink) {
  if constexpr (Format::kInPlace) {
    Format::template in_place<s>(p, sink);
  } else {
    Format::template segment<s>(p, sink);
  }
}

// Where the unpacked weights of 256 values come from: from the stream, or from where keep() has put them.
enum class From : std::uint8_t { Stream, Kept };
// 64 units of 16 rows and 4 values, in the form that a format hands them on.
struct alignas(64) KeptWeights {
  template <class Weights>
  LOADLINE_INLINE void store(int offset, Weights weights) {
    std::byte* unit = units[offset / 4];
    if constexpr (std::is_same_v<Weights, I>) {
      V::store(unit, weights);
    } else {
      V::store(unit, weights.magnitudes);
      V::store(unit + sizeof(I), weights.signs);
    }
  }
  template <class Weights>
  LOADLINE_INLINE void load(int offset, Weights& weights) const {
    const std::byte* unit = units[offset / 4];
    if constexpr (std::is_same_v<Weights, I>) {
      weights = V::load(unit);
    } else {
      weights = {V::load(unit), V::load(unit + sizeof(I))};
    }
  }
  std::byte units[64][2 * sizeof(I)];
};

template <class Format>
void keep(const std::byte* p, KeptWeights& kept) {
  unrolled<Format::kSegments>(LOADLINE_EACH(s) {
    const auto store = [&](auto, auto offset, auto weights) __attribute__((always_inline)) {
      prefetch_ahead<kRows * Format::kBytes, Format::turn(offset)>(p);
      kept.store(offset, weights);
    };
    if constexpr (kIntegerSums<Format>) {
      each_in_place<Format, s>(p, store);
    } else {
      Format::template segment<s>(p, store);
    }
  });
}

// Calls sink(group of the segment, offset, weights) for each unit of segment s. (What would unpack weights that are
// kept is not compiled, as nobody asks for it.)
template <class Format, int s, From from, class Sink>
LOADLINE_INLINE void each_unit(const std::byte* p, [[maybe_unused]] const KeptWeights* kept, Sink&& sink) {
  const auto use = [&](auto i, auto offset, auto weights) __attribute__((always_inline)) {
    if constexpr (from == From::Kept) {
      kept->load(offset, weights);
    } else {
      prefetch_ahead<kRows * Format::kBytes, Format::turn(offset)>(p);
    }
    sink(i, offset, weights);
  };
  if constexpr (kIntegerSums<Format>) {
    each_in_place<Format, s>(p, use);
  } else {
    Format::template segment<s>(p, use);
  }
}

// Adds a segment with every group's sum times its scale as a float, less the factor.
template <class Format, int n, int s, From from>
LOADLINE_INLINE void add_as_floats(const typename Format::Header& header, const std::byte* p, const KeptWeights* kept,
                                   const Int8Block* x, const Values<Format> (&values)[n], F (&sums)[n]) {
  constexpr int kGroups = Format::kSegmentGroups;
  constexpr int kBias = Format::kSigned ? V::kSignedOffset : Format::kBias;
  V::Dots<Format::kMost> groups[kGroups][n];
  unrolled<kGroups>(LOADLINE_EACH(i) {
    constexpr int kIndex = Format::template group_of<s>(i);
    unrolled<n>(LOADLINE_EACH(t) {
      groups[i][t] = V::Dots<Format::kMost>::from(start_of<Format::kGroup, kBias>(x[t], kIndex));
    });
  });
  each_unit<Format, s, from>(p, kept, [&](auto i, auto offset, auto weights) __attribute__((always_inline)) {
    unrolled<n>(LOADLINE_EACH(t) { values[t].multiply(groups[i][t], weights, offset); });
  });
  unrolled<kGroups>(LOADLINE_EACH(i) {
    const F scale = scale_less_factor<Format, Format::template group_of<s>(i)>(header, p);
    unrolled<n>(LOADLINE_EACH(t) { sums[t] = V::fma(V::to_float(groups[i][t].total()), scale, sums[t]); });
  });
}

// The same with integer scales, and sums of two groups in the halves of a lane.
template <class Format, int n, int s, From from>
LOADLINE_INLINE void add_in_pairs(const typename Format::Header& header, const std::byte* p, const KeptWeights* kept,
                                  const Values<Format> (&values)[n], I (&sums)[1][n]) {
  constexpr int kGroups = Format::kSegmentGroups;
  V::Dots<Format::kMost> groups[kGroups][n];
  unrolled<kGroups * n>(LOADLINE_EACH(i) { groups[i / n][i % n] = V::Dots<Format::kMost>::from(V::zero()); });
  each_unit<Format, s, from>(p, kept, [&](auto i, auto offset, auto weights) __attribute__((always_inline)) {
    unrolled<n>(LOADLINE_EACH(t) { values[t].multiply(groups[i][t], weights, offset); });
  });
  unrolled<kGroups / 2>(LOADLINE_EACH(i) {
    constexpr int kIndex = Format::template group_of<s>(2 * i);
    static_assert(Format::template group_of<s>(2 * i + 1) == kIndex + 2);
    const I pair = scale_pair<Format, kIndex>(header);
    unrolled<n>(LOADLINE_EACH(t) {
      constexpr int kPlace = place_of<Format>(2 * i);
      I low = groups[2 * i][t].total();
      if constexpr (kPlace > 0) low = V::sra32<kPlace>(low);
      const I both = V::halves_of<place_of<Format>(2 * i + 1)>(low, groups[2 * i + 1][t].total());
      sums[0][t] = V::dot16(sums[0][t], both, pair);
    });
  });
}

// The same where products come in 16 bits, which are scaled as they are widened; weights at `place` go to sums[place].
template <class Format, int n, int s, From from, int places>
LOADLINE_INLINE void add_as_widened(const typename Format::Header& header, const std::byte* p, const KeptWeights* kept,
                                    const Values<Format> (&values)[n], I (&sums)[places][n]) {
  using Dots = V::Dots<Format::kMost>;
  constexpr int kGroups = Format::kSegmentGroups;
  constexpr int kProducts = Format::kGroup / 4;
  Dots products[kGroups][n];
  unrolled<kGroups * n>(LOADLINE_EACH(i) { products[i / n][i % n] = Dots::from(V::zero()); });
  each_unit<Format, s, from>(p, kept, [&](auto i, auto offset, auto weights) __attribute__((always_inline)) {
    constexpr int kPlace = place_of<Format>(i);
    constexpr int kRun = Dots::run_at(kPlace) < kProducts ? Dots::run_at(kPlace) : kProducts;
    // Made where it is needed: there are few registers.
    const auto scale = [&]() __attribute__((always_inline)) {
      return scale_twice<Format, Format::template group_of<s>(i)>(header);
    };
    unrolled<n>(LOADLINE_EACH(t) {
      products[i][t].template add_scaled<kRun>(values[t].pairs(weights, offset), scale, sums[kPlace][t]);
    });
  });
}

// How many sums of 256 values are kept apart: where products are widened, one for each place of weights.
template <class Format>
constexpr int sum_places() {
  int most = 0;
  if constexpr (V::kNarrow && Format::kInPlace) {
    for (const int place : Format::kPlaces) most = place > most ? place : most;
  }
  return most + 1;
}

// Adds 256 values of 16 rows each of `streams` tiles times those of n tokens to totals[16 * (n * m + t) + r]. `kept`:
// of one tile, where weights are kept.
template <class Format, int n, From from = From::Stream, int streams>
void superblocks(const std::byte* const (&p)[streams], const Int8Block* x, float* totals,
                 const KeptWeights* kept = nullptr) {
  static_assert(streams == 1 || from == From::Stream);
  using Header = typename Format::Header;
  [&]<int... m, int... token>(std::integer_sequence<int, m...>, std::integer_sequence<int, token...>)
      __attribute__((always_inline)) {
        const Header headers[streams] = {Header(p[m])...};
        const Values<Format> values[n] = {Values<Format>(x[token])...};
        F sums[streams][n];
        unrolled<streams>(LOADLINE_EACH(i) {
          unrolled<n>(LOADLINE_EACH(t) { sums[i][t] = mins_of<Format>(headers[i], p[i], x[t]); });
        });
        if constexpr (kIntegerSums<Format>) {
          constexpr int kPlaces = sum_places<Format>();
          I whole[streams][kPlaces][n];
          unrolled<streams * n>(LOADLINE_EACH(i) {
            whole[i / n][0][i % n] = biased_start<Format>(headers[i / n], x[i % n]);
            unrolled<kPlaces - 1>(LOADLINE_EACH(place) { whole[i / n][place + 1][i % n] = V::zero(); });
          });
          unrolled<Format::kSegments>(LOADLINE_EACH(s) {
            unrolled<streams>(LOADLINE_EACH(i) {
              if constexpr (V::kNarrow) {
                add_as_widened<Format, n, s, from>(headers[i], p[i], kept, values, whole[i]);
              } else {
                add_in_pairs<Format, n, s, from>(headers[i], p[i], kept, values, whole[i]);
              }
            });
          });
          unrolled<streams>(LOADLINE_EACH(i) {
            unrolled<n>(LOADLINE_EACH(t) {
              I sum = whole[i][0][t];
              unrolled<kPlaces - 1>(
                  LOADLINE_EACH(place) { sum = V::add32(sum, V::sra32<place + 1>(whole[i][place + 1][t])); });
              sums[i][t] = V::fma(V::to_float(sum), Format::factor(headers[i], p[i]), sums[i][t]);
            });
          });
        } else {
          F products[streams][n];  // less the factor where there is one
          unrolled<streams * n>(
              LOADLINE_EACH(i) { products[i / n][i % n] = Format::kFactor ? V::zero_f() : sums[i / n][i % n]; });
          unrolled<Format::kSegments>(LOADLINE_EACH(s) {
            unrolled<streams>(LOADLINE_EACH(i) {
              add_as_floats<Format, n, s, from>(headers[i], p[i], kept, x, values, products[i]);
            });
          });
          unrolled<streams * n>(LOADLINE_EACH(i) {
            F& sum = sums[i / n][i % n];
            if constexpr (Format::kFactor) {
              sum = V::fma(products[i / n][i % n], Format::factor(headers[i / n], p[i / n]), sum);
            } else {
              sum = products[i / n][i % n];
            }
          });
        }
        unrolled<streams>(LOADLINE_EACH(i) {
          unrolled<n>(LOADLINE_EACH(t) {
            float* total = totals + kRows * (n * i + t);
            V::store_f(total, V::fma(sums[i][t], V::set(x[t].scale), V::load_f(total)));
          });
        });
      }(std::make_integer_sequence<int, streams>{}, std::make_integer_sequence<int, n>{});
}

// The same for one tile and any n, V::kDirect tokens at a time.
template <class Format, int n>
void superblock_of_few(const std::byte* p, const Int8Block* x, float* totals) {
  constexpr int kNow = n < V::kDirect ? n : V::kDirect;
  const std::byte* const alone[] = {p};
  superblocks<Format, kNow>(alone, x, totals);
  if constexpr (n > kNow) superblock_of_few<Format, n - kNow>(p, x + kNow, totals + kRows * kNow);
}

// The same for more than kFew tokens, of weights that are unpacked once.
template <class Format>
void superblock_of_any(const std::byte* p, const Int8Block* x, std::uint32_t tokens, float* totals) {
  constexpr std::uint32_t kNow = V::kDirect;
  static_assert(kNow <= kFew);
  const std::byte* const alone[] = {p};
  KeptWeights kept;
  keep<Format>(p, kept);
  std::uint32_t t = 0;
  for (; t + kNow <= tokens; t += kNow) superblocks<Format, kNow, From::Kept>(alone, x + t, totals + kRows * t, &kept);
  if (t == tokens) return;
  // The last ones with some that are done already, whose sums are not looked at.
  const std::uint32_t first = tokens - kNow;
  alignas(64) float sums[kNow * kRows];
  std::memcpy(sums, totals + kRows * first, sizeof(sums));
  superblocks<Format, kNow, From::Kept>(alone, x + first, sums, &kept);
  std::memcpy(totals + kRows * t, sums + kRows * (t - first), (tokens - t) * kRows * sizeof(float));
}

template <class Format, int n, int streams>
LOADLINE_INLINE void streams_of_few(const Tile* tiles, const Int8Block* x, std::uint32_t tokens, float* sums) {
  alignas(64) std::byte copies[streams][kRows * Format::kBytes];
  unrolled<streams * n>(LOADLINE_EACH(i) { V::store_f(sums + kRows * i, V::zero_f()); });
  for (std::uint32_t b = 0; b < tiles[0].superblocks; ++b, x += tokens) {
    const std::byte* p[streams];
    for (int i = 0; i < streams; ++i) {
      p[i] = tiles[i].data + b * kRows * Format::kBytes;
      if (b < tiles[i].direct) continue;
      copy_superblock(tiles[i], b, copies[i]);
      p[i] = copies[i];
    }
    if constexpr (n == 1) {
      superblocks<Format, 1>(p, x, sums);
    } else {  // multiplying takes longer than reading, and registers would not do
      for (int i = 0; i < streams; ++i) superblock_of_few<Format, n>(p[i], x, sums + kRows * n * i);
    }
  }
}

// sums[16 * (n * i + t) + r] = row r of tile i times token first + t, for n tokens and up to kStreams tiles.
template <class Format, int n>
void products_of_few(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t tokens,
                     std::uint32_t first, float* sums) {
  const auto* x = reinterpret_cast<const Int8Block*>(activations) + first;
  static_assert(kStreams == 2);
  count == 1 ? streams_of_few<Format, n, 1>(tiles, x, tokens, sums)
             : streams_of_few<Format, n, 2>(tiles, x, tokens, sums);
}

// sums[16 * t + r] = row r of the tile times token first + t, for more than kFew tokens: each as it is for itself,
// which the other way adds up in another order.
template <class Format>
void products_as_alone(const Tile& tile, const std::byte* activations, std::uint32_t tokens, std::uint32_t first,
                       std::uint32_t count, float* sums) {
  const auto* x = reinterpret_cast<const Int8Block*>(activations) + first;
  alignas(64) std::byte copy[kRows * Format::kBytes];
  for (std::uint32_t t = 0; t < count; ++t) V::store_f(sums + kRows * t, V::zero_f());
  for (std::uint32_t b = 0; b < tile.superblocks; ++b, x += tokens) {
    const std::byte* p = tile.data + b * kRows * Format::kBytes;
    if (b >= tile.direct) {
      copy_superblock(tile, b, copy);
      p = copy;
    }
    superblock_of_any<Format>(p, x, count, sums);
  }
}

// ---- Many tokens ----

// Whether the scales of a format are folded into the weights when they are unpacked.
template <class Format>
constexpr bool kFolded = Format::kFold && !(V::kNarrow && Format::kBias != 0);

// What a register tile must know of a format: values per scale (256 where the scales are folded into the weights), the
// largest weight as V::Dots has it, and what is to be subtracted from the weights as they were unpacked.
template <int group, int most, int bias, Mins mins_kind>
struct Shape {
  static constexpr int kGroup = group;
  static constexpr int kMost = most;
  static constexpr int kBias = bias;
  static constexpr Mins kMins = mins_kind;
};
// What weights whose signs come apart are raised by, so that none is negative, where products are summed in 16 bits.
constexpr int kRaised = 64;
template <class Format>
constexpr auto shape_of() {
  constexpr int kGroup = kFolded<Format> ? 256 : Format::kGroup;
  if constexpr (V::kNarrow && Format::kSigned && Format::kMost < kRaised) {
    return Shape<kGroup, 127, kRaised, Format::kMins>{};
  } else if constexpr (Format::kSigned || (Format::kBias != 0 && !V::kNarrow)) {
    return Shape<kGroup, 255, V::kSignedOffset, Format::kMins>{};
  } else if constexpr (!V::kNarrow) {
    return Shape<kGroup, 127, 0, Format::kMins>{};
  } else if constexpr (kFolded<Format>) {
    return Shape<kGroup, Format::kMostFolded, 0, Format::kMins>{};
  } else {
    return Shape<kGroup, Format::kMost, Format::kBias, Format::kMins>{};
  }
}
template <class Format>
using ShapeOf = decltype(shape_of<Format>());

// 256 values of a tile, unpacked: weights of 4 values [64][16 rows][4], float scales per group, mins.
struct alignas(64) Unpacked {
  std::byte weights[64][64];
  float scales[16][16];
  union {
    std::byte pairs[8][64];  // two mins as shorts, in the order of Int8Block's sums
    float minimums[8][16];   // divided by -128, to be multiplied with starts32
  };
  float negative_dmin[16];
};

// `streaming`: what comes after is fetched on the way.
template <class Format, bool streaming>
LOADLINE_INLINE void unpack(const std::byte* p, Unpacked& out) {
  const typename Format::Header header(p);
  constexpr int kGroups = Format::kSegmentGroups;
  unrolled<Format::kSegments>(LOADLINE_EACH(s) {
    if constexpr (kFolded<Format>) {
      typename Format::Folder folders[kGroups];
      unrolled<kGroups>(LOADLINE_EACH(i) {
        constexpr int kIndex = Format::template group_of<s>(i);
        folders[i] = Format::Folder::template of<kIndex>(header);
      });
      Format::template segment<s>(p, [&](auto i, auto offset, auto weights) __attribute__((always_inline)) {
        if constexpr (streaming) prefetch_ahead<kRows * Format::kBytes, Format::turn(offset)>(p);
        V::store(out.weights[offset / 4], folders[i](weights));
      });
    } else {
      Format::template segment<s>(p, [&](auto, auto offset, auto weights) __attribute__((always_inline)) {
        if constexpr (streaming) prefetch_ahead<kRows * Format::kBytes, Format::turn(offset)>(p);
        if constexpr (!std::is_same_v<decltype(weights), I>) {
          V::store(out.weights[offset / 4], V::template biased<kRaised>(weights));
        } else if constexpr (!V::kNarrow && !Format::kSigned && Format::kBias != 0) {
          V::store(out.weights[offset / 4], V::add8(weights, V::bytes(V::kSignedOffset - Format::kBias)));
        } else {
          V::store(out.weights[offset / 4], weights);
        }
      });
      unrolled<kGroups>(LOADLINE_EACH(i) {
        constexpr int kIndex = Format::template group_of<s>(i);
        V::store_f(out.scales[kIndex], float_scale<Format, kIndex>(header, p));
      });
    }
  });
  if constexpr (kFolded<Format>) V::store_f(out.scales[0], Format::folded_scale(header));
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

// What the mins add to 256 values of one unpacked tile and token.
template <class S>
LOADLINE_INLINE F unpacked_mins(const Unpacked& w, const Int8Block& x) {
  if constexpr (S::kMins == Mins::Float) {
    F sum = V::zero_f();
    for (int g = 0; g < 8; ++g) sum = V::fma(V::to_float(V::repeat(&x.starts32[g])), V::load_f(w.minimums[g]), sum);
    return sum;
  } else if constexpr (S::kMins != Mins::None) {
    constexpr int kPairs = S::kMins == Mins::Pairs16 ? 8 : 4;
    const std::int16_t* sums = S::kMins == Mins::Pairs16 ? x.sums16 : x.sums32;
    I sum = V::zero();
    for (int i = 0; i < kPairs; ++i) sum = V::dot16(sum, V::load(w.pairs[i]), V::repeat(sums + 2 * i));
    return V::mul(V::to_float(sum), V::load_f(w.negative_dmin));
  }
  return V::zero_f();
}

// Adds 256 values of V::kTiles tiles times `count` tokens to out[token * stride + 16 * tile].
template <class S, int count>
void register_tile(const Unpacked* w, const Int8Block* x, float* out, std::size_t stride) {
  using Dots = V::Dots<S::kMost>;
  F sums[count][V::kTiles];
#pragma GCC unroll 8
  for (int t = 0; t < count; ++t) {
#pragma GCC unroll 8
    for (int m = 0; m < V::kTiles; ++m) sums[t][m] = unpacked_mins<S>(w[m], x[t]);
  }
  // An accumulator is kept over `steps` runs of eight (four for groups of 16) products of 4 values.
  constexpr int kRun = S::kGroup == 16 ? 4 : 8;
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
      const int first = (g * kSteps + step) * kRun;
#pragma GCC unroll 8
      for (int c = 0; c < kRun; ++c) {
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

// Up to here the weights' stream is the bottleneck and is fetched as for one token; beyond, a little at a time.
constexpr std::uint32_t kFewTokens = 24;

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

// sums[t * kTileSums + 16 * i + r] = row r of tile i times token first + t, for up to kGroupTiles tiles.
template <class Format>
void products_of_many(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t tokens,
                      std::uint32_t first, std::uint32_t token_count, const Destination& destination, float* sums) {
  using S = ShapeOf<Format>;
  constexpr std::size_t kTileBytes = kRows * Format::kBytes;
  Unpacked unpacked[kGroupTiles];
  alignas(64) std::byte copy[kTileBytes];
  for (std::size_t i = 0; i < std::size_t{token_count} * kTileSums; i += 16) V::store_f(sums + i, V::zero_f());
  const auto* x = reinterpret_cast<const Int8Block*>(activations) + first;
  // Whole register tiles: the tiles that are missing repeat the last one, and their sums are not looked at.
  const std::uint32_t padded = (count + V::kTiles - 1) / V::kTiles * V::kTiles;
  const bool few = token_count <= kFewTokens;
  for (std::uint32_t b = 0; b < tiles[0].superblocks; ++b, x += tokens) {
    for (std::uint32_t i = 0; i < padded; ++i) {
      const Tile& tile = tiles[i < count ? i : count - 1];
      const std::byte* p = tile.data + b * kTileBytes;
      if (b >= tile.direct) {
        copy_superblock(tile, b, copy);
        p = copy;
      }
      few ? unpack<Format, true>(p, unpacked[i]) : unpack<Format, false>(p, unpacked[i]);
    }
    Fetcher next(tiles, count, (b + 1) * kTileBytes, kTileBytes);
    // Register tiles of about the same number of tokens: a narrow one cannot hide the latency of the dot product.
    std::uint32_t calls = (token_count + V::kTokens - 1) / V::kTokens;
    const std::size_t pairs = calls * (padded / V::kTiles);
    const std::size_t share = few ? 0 : (count * (kTileBytes / 64 + 1) + pairs - 1) / pairs;
    for (std::uint32_t t = 0; t < token_count; --calls) {
      const std::uint32_t now = (token_count - t + calls - 1) / calls;
      if (b + 1 == tiles[0].superblocks) destination.fetch(t, t + now);
      const auto function = register_tile_for<S>(now, std::make_integer_sequence<int, V::kTokens>{});
      for (std::uint32_t i = 0; i < padded; i += V::kTiles) {
        next.fetch(share);
        function(unpacked + i, x + t, sums + std::size_t{t} * kTileSums + kRows * i, kTileSums);
      }
      t += now;
    }
  }
}

template <class Format>
constexpr Products kInt8Products = {
    {products_of_few<Format, 1>, products_of_few<Format, 2>, products_of_few<Format, 3>, products_of_few<Format, 4>},
    products_as_alone<Format>,
    products_of_many<Format>};

}  // namespace
}  // namespace loadline::cpu
