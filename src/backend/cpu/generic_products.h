// Products of quantised tiles with 8-bit activations, written once over the primitives of an instruction set and the
// formats: those of one to kFew tokens, straight from the tile's stream. A weight is unpacked, used for all of them and
// forgotten. Without horizontal sums, as a lane is a row. Internal linkage. Those of more tokens are
// generic_unpacked.h's; both add up the same numbers in the same order, so that what a token gives does not depend on
// how many go with it.
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
// Fetches share `share` of `shares` of as many bytes as are being multiplied, so that memory works while weights are
// multiplied and not in bursts between.
template <std::size_t bytes, int share, int shares = 64, std::size_t near = V::kNear, std::size_t far = V::kFar>
LOADLINE_INLINE void prefetch_ahead(const std::byte* p) {
  constexpr std::size_t kLines = (bytes + 63) / 64;
  constexpr std::size_t kFirst = kLines * share / shares;
  constexpr std::size_t kLast = kLines * (share + 1) / shares;
#pragma GCC unroll 8
  for (std::size_t line = kFirst; line < kLast; ++line) fetch_line<near, far>(p + line * 64);
}

// Whether the scales of a format are folded into the weights where those are unpacked for many tokens. (Where products
// are summed in 16 bits, weights that are small can be added up more often before their sums are widened.)
template <class Format>
constexpr bool kFolded = Format::kFold && !V::kNarrow;

// Whether groups' sums are multiplied by their scales as integers and added up over 256 values as such, which is exact
// and saves converting each: where they come in 16 bits anyway, and where unpacked weights have their scales in them.
template <class Format>
constexpr bool kIntegerSums = Format::kByteScales && (V::kNarrow || kFolded<Format>);

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
  // The 4 values at `offset` in every lane.
  [[nodiscard]] LOADLINE_INLINE I quad(int offset) const { return V::repeat(x_ + offset); }
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
    each_of_segment<Format, s>(p, sink);
  }
}

// Calls sink(group of the segment, offset, weights) for each unit of segment s.
template <class Format, int s, class Sink>
LOADLINE_INLINE void each_unit(const std::byte* p, Sink&& sink) {
  const auto use = [&](auto i, auto offset, auto weights) __attribute__((always_inline)) {
    prefetch_ahead<kRows * Format::kBytes, Format::turn(offset)>(p);
    sink(i, offset, weights);
  };
  if constexpr (kIntegerSums<Format>) {
    each_in_place<Format, s>(p, use);
  } else {
    each_of_segment<Format, s>(p, use);
  }
}

// Adds a segment with every group's sum times its scale as a float, less the factor.
template <class Format, int n, int s>
LOADLINE_INLINE void add_as_floats(const typename Format::Header& header, const std::byte* p, const Int8Block* x,
                                   const Values<Format> (&values)[n], F (&sums)[n]) {
  constexpr int kGroups = Format::kSegmentGroups;
  constexpr int kBias = Format::kSigned ? V::kSignedOffset : Format::kBias;
  V::Dots<Format::kMost> groups[kGroups][n];
  unrolled<kGroups>(LOADLINE_EACH(i) {
#pragma GCC unroll 8
    for (int t = 0; t < n; ++t) {
      groups[i][t] =
          V::Dots<Format::kMost>::from(start_of<Format::kGroup, kBias>(x[t], Format::template group_of<s>(i)));
    }
  });
  each_unit<Format, s>(p, [&](auto i, auto offset, auto weights) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int t = 0; t < n; ++t) values[t].multiply(groups[i][t], weights, offset);
  });
  unrolled<kGroups>(LOADLINE_EACH(i) {
    const F scale = scale_less_factor<Format, Format::template group_of<s>(i)>(header, p);
#pragma GCC unroll 8
    for (int t = 0; t < n; ++t) sums[t] = V::fma(V::to_float(groups[i][t].total()), scale, sums[t]);
  });
}

// In how many parts n tokens are multiplied straight from the stream.
template <int n>
constexpr int parts_of = (n + V::kDirect - 1) / V::kDirect;

// Whether two tiles are multiplied with the same 4 values of a token before the next ones: those are loaded into every
// lane once for both, and with many tokens it is such loads that take the time. (With one token more than go at once,
// the gain is not worth the code.)
template <class Format, int n>
constexpr bool kSideBySide = V::kSharedNear != 0 && n > V::kDirect + 1 && kByOffset<Format> && !kIntegerSums<Format>;
static_assert(parts_of<V::kFewTokens> == 2 || V::kSharedNear == 0, "add_side_by_side fetches for two parts");

// The same as add_as_floats of several tiles, side by side, of one of two parts of the tokens. Half of what comes next
// is fetched, from `ahead` bytes further on, so that memory works during both parts.
template <class Format, int n, int s, int streams>
LOADLINE_INLINE void add_side_by_side(const typename Format::Header (&headers)[streams],
                                      const std::byte* const (&p)[streams], std::size_t ahead, const Int8Block* x,
                                      const Values<Format> (&values)[n], F (&sums)[streams][n]) {
  constexpr int kParts = 2;
  constexpr int kGroups = Format::kSegmentGroups;
  constexpr int kBias = Format::kSigned ? V::kSignedOffset : Format::kBias;
  V::Dots<Format::kMost> groups[kGroups][streams][n];
  unrolled<kGroups>(LOADLINE_EACH(i) {
#pragma GCC unroll 8
    for (int t = 0; t < n; ++t) {
      const I start = start_of<Format::kGroup, kBias>(x[t], Format::template group_of<s>(i));
#pragma GCC unroll 8
      for (int m = 0; m < streams; ++m) groups[i][m][t] = V::Dots<Format::kMost>::from(start);
    }
  });
  each_offset<Format, s>([&](auto i, auto offset) __attribute__((always_inline)) {
    I weights[streams];
#pragma GCC unroll 8
    for (int m = 0; m < streams; ++m) {
      prefetch_ahead<kRows * Format::kBytes, Format::turn(offset), 64 * kParts, V::kSharedNear, 0>(p[m] + ahead);
      weights[m] = Format::template weights<offset>(p[m]);
    }
#pragma GCC unroll 8
    for (int t = 0; t < n; ++t) {
      const I quad = values[t].quad(offset);
#pragma GCC unroll 8
      for (int m = 0; m < streams; ++m) groups[i][m][t].add(weights[m], quad);
    }
  });
  unrolled<kGroups>(LOADLINE_EACH(i) {
#pragma GCC unroll 8
    for (int m = 0; m < streams; ++m) {
      const F scale = scale_less_factor<Format, Format::template group_of<s>(i)>(headers[m], p[m]);
#pragma GCC unroll 8
      for (int t = 0; t < n; ++t) sums[m][t] = V::fma(V::to_float(groups[i][m][t].total()), scale, sums[m][t]);
    }
  });
}

// The same with integer scales, and sums of two groups in the halves of a lane.
template <class Format, int n, int s>
LOADLINE_INLINE void add_in_pairs(const typename Format::Header& header, const std::byte* p,
                                  const Values<Format> (&values)[n], I (&sums)[1][n]) {
  constexpr int kGroups = Format::kSegmentGroups;
  V::Dots<Format::kMost> groups[kGroups][n];
  unrolled<kGroups * n>(LOADLINE_EACH(i) { groups[i / n][i % n] = V::Dots<Format::kMost>::from(V::zero()); });
  each_unit<Format, s>(p, [&](auto i, auto offset, auto weights) __attribute__((always_inline)) {
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
template <class Format, int n, int s, int places>
LOADLINE_INLINE void add_as_widened(const typename Format::Header& header, const std::byte* p,
                                    const Values<Format> (&values)[n], I (&sums)[places][n]) {
  using Dots = V::Dots<Format::kMost>;
  constexpr int kGroups = Format::kSegmentGroups;
  constexpr int kProducts = Format::kGroup / 4;
  Dots products[kGroups][n];
  unrolled<kGroups * n>(LOADLINE_EACH(i) { products[i / n][i % n] = Dots::from(V::zero()); });
  each_unit<Format, s>(p, [&](auto i, auto offset, auto weights) __attribute__((always_inline)) {
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

// Adds the products of 256 values to what there is of them, all scaled but by the tokens' scales: where groups' scales
// are integers, and where they are floats.
template <class Format, int n, int streams>
LOADLINE_INLINE void add_with_integer_scales(const typename Format::Header (&headers)[streams],
                                             const std::byte* const (&p)[streams], const Int8Block* x,
                                             const Values<Format> (&values)[n], F (&sums)[streams][n]) {
  constexpr int kPlaces = sum_places<Format>();
  I whole[streams][kPlaces][n];
  unrolled<streams * n>(LOADLINE_EACH(i) {
    whole[i / n][0][i % n] = biased_start<Format>(headers[i / n], x[i % n]);
    unrolled<kPlaces - 1>(LOADLINE_EACH(place) { whole[i / n][place + 1][i % n] = V::zero(); });
  });
  unrolled<Format::kSegments>(LOADLINE_EACH(s) {
    unrolled<streams>(LOADLINE_EACH(i) {
      if constexpr (V::kNarrow) {
        add_as_widened<Format, n, s>(headers[i], p[i], values, whole[i]);
      } else {
        add_in_pairs<Format, n, s>(headers[i], p[i], values, whole[i]);
      }
    });
  });
  unrolled<streams>(LOADLINE_EACH(i) {
    unrolled<n>(LOADLINE_EACH(t) {
      I sum = whole[i][0][t];
      unrolled<kPlaces - 1>(LOADLINE_EACH(place) { sum = V::add32(sum, V::sra32<place + 1>(whole[i][place + 1][t])); });
      sums[i][t] = V::fma(V::to_float(sum), Format::factor(headers[i], p[i]), sums[i][t]);
    });
  });
}
template <class Format, int n, int streams>
LOADLINE_INLINE void add_with_float_scales(const typename Format::Header (&headers)[streams],
                                           const std::byte* const (&p)[streams], [[maybe_unused]] std::size_t ahead,
                                           const Int8Block* x, const Values<Format> (&values)[n],
                                           F (&sums)[streams][n]) {
  F products[streams][n];  // less the factor where there is one
#pragma GCC unroll 8
  for (int i = 0; i < streams; ++i) {
#pragma GCC unroll 8
    for (int t = 0; t < n; ++t) products[i][t] = Format::kFactor ? V::zero_f() : sums[i][t];
  }
  unrolled<Format::kSegments>(LOADLINE_EACH(s) {
    if constexpr (n > 1 && streams > 1) {
      add_side_by_side<Format, n, s>(headers, p, ahead, x, values, products);
    } else {
      unrolled<streams>(LOADLINE_EACH(i) { add_as_floats<Format, n, s>(headers[i], p[i], x, values, products[i]); });
    }
  });
#pragma GCC unroll 8
  for (int i = 0; i < streams; ++i) {
#pragma GCC unroll 8
    for (int t = 0; t < n; ++t) {
      if constexpr (Format::kFactor) {
        sums[i][t] = V::fma(products[i][t], Format::factor(headers[i], p[i]), sums[i][t]);
      } else {
        sums[i][t] = products[i][t];
      }
    }
  }
}

// Adds 256 values of 16 rows each of `streams` tiles times those of n tokens to totals[16 * (tokens * m + t) + r].
// `ahead`: see add_side_by_side.
template <class Format, int n, int streams>
void superblocks(const std::byte* const (&p)[streams], const Int8Block* x, float* totals, int tokens = n,
                 std::size_t ahead = 0) {
  using Header = typename Format::Header;
  [&]<int... m, int... token>(std::integer_sequence<int, m...>, std::integer_sequence<int, token...>)
      __attribute__((always_inline)) {
        const Header headers[streams] = {Header(p[m])...};
        const Values<Format> values[n] = {Values<Format>(x[token])...};
        F sums[streams][n];
#pragma GCC unroll 8
        for (int i = 0; i < streams; ++i) {
#pragma GCC unroll 8
          for (int t = 0; t < n; ++t) sums[i][t] = mins_of<Format>(headers[i], p[i], x[t]);
        }
        if constexpr (kIntegerSums<Format>) {
          add_with_integer_scales<Format>(headers, p, x, values, sums);
        } else {
          add_with_float_scales<Format>(headers, p, ahead, x, values, sums);
        }
#pragma GCC unroll 8
        for (int i = 0; i < streams; ++i) {
#pragma GCC unroll 8
          for (int t = 0; t < n; ++t) {
            float* total = totals + kRows * static_cast<std::size_t>(tokens * i + t);
            V::store_f(total, V::fma(sums[i][t], V::set(x[t].scale), V::load_f(total)));
          }
        }
      }(std::make_integer_sequence<int, streams>{}, std::make_integer_sequence<int, n>{});
}

// The same for any n, in `parts` parts that are about the same, of which `part` is the first.
template <class Format, int n, int parts = parts_of<n>, int part = 0, int streams>
void superblocks_of_few(const std::byte* const (&p)[streams], const Int8Block* x, float* totals, int tokens) {
  constexpr int kNow = (n + parts - part - 1) / (parts - part);
  constexpr std::size_t kAhead = kRows * Format::kBytes / 64 * part / parts * 64;
  superblocks<Format, kNow>(p, x, totals, tokens, kAhead);
  if constexpr (n > kNow) {
    superblocks_of_few<Format, n - kNow, parts, part + 1>(p, x + kNow, totals + kRows * kNow, tokens);
  }
}

// Whether entries of a codebook are loaded one by one: that, and not reading, is what takes the time, and the registers
// of two tiles would be stored and loaded in between (measured with AVX2: one after the other 7 to 43 % faster).
template <class Format>
constexpr bool kLookedUp = !V::kTables && requires { typename Format::Book; };

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
    if constexpr ((n == 1 && !kLookedUp<Format>) || kSideBySide<Format, n>) {
      superblocks_of_few<Format, n>(p, x, sums, n);
    } else {  // multiplying takes longer than reading, and registers would not do
      for (int i = 0; i < streams; ++i) {
        const std::byte* const alone[] = {p[i]};
        superblocks_of_few<Format, n>(alone, x, sums + kRows * n * i, n);
      }
    }
  }
}

// sums[16 * (n * i + t) + r] = row r of tile i times token first + t, for n tokens and up to kStreams tiles.
template <class Format, int n>
void products_of_few(const Tile* tiles, std::uint32_t count, const std::byte* activations, std::uint32_t tokens,
                     std::uint32_t first, float* sums) {
  const auto* x = reinterpret_cast<const Int8Block*>(activations) + first;
  static_assert(kStreams == 2);
  if (count == kStreams) return streams_of_few<Format, n, 2>(tiles, x, tokens, sums);
  if constexpr (kSideBySide<Format, n>) {  // a tile is rarely alone: twice the work there, half the code
    const Tile twice[] = {tiles[0], tiles[0]};
    alignas(64) float both[2 * kRows * n];
    streams_of_few<Format, n, 2>(twice, x, tokens, both);
    std::memcpy(sums, both, kRows * n * sizeof(float));
  } else {
    streams_of_few<Format, n, 1>(tiles, x, tokens, sums);
  }
}

}  // namespace
}  // namespace loadline::cpu
