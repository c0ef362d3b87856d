// What attention does with one head's part of a page: scores of query rows against K, weighted sums of V, and how the
// parts' values become floats. Written once over the primitives of an instruction set. Internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backend/cpu/attention_units.h"
#include "backend/cpu/generic_activations.h"
#include "backend/cpu/generic_products.h"
#include "backend/cpu/kernel_sets.h"
#include "backend/cpu/kv_layout.h"

namespace loadline::cpu {
namespace {

// Dimensions that are converted at a time.
constexpr std::size_t kDims = 64;

// A query rounded to 8 bits per 32 dimensions.
struct RoundedQuery {
  std::int8_t values[kMaxHeadDim];
  float scales[kMaxHeadDim / 32];
  std::int32_t starts[kMaxHeadDim / 32];  // -V::kSignedOffset * sum
};

struct Rows {
  std::uint32_t count;
  const float* q[kUnitRows];
  float* out[kUnitRows];
  std::uint32_t visible[kUnitRows];  // cells from the sequence's start
  std::uint32_t first[kUnitRows];    // the first of them that is seen
  std::uint32_t position[kUnitRows];
  float slope[kUnitRows];  // of ALiBi
  // What weights are relative to: at least the greatest score so far less kSlack.
  float reference[kUnitRows];
  alignas(64) float weights[kUnitRows][16];  // their sums, lane by lane
  alignas(64) float scores[kUnitRows][kCells];
};

void round_query(const float* q, std::uint32_t dim, RoundedQuery& out) {
  for (std::uint32_t i = 0; i < dim; i += 32) {
    const std::int32_t bits = largest_bits(q + i, 32);
    float largest;
    std::memcpy(&largest, &bits, sizeof largest);
    const bool finite = bits < 0x7F800000;
    out.scales[i / 32] = finite ? largest / 127.0F : __builtin_nanf("");
    const F inverse = V::set(finite && largest >= kNegligible ? 127.0F / largest : 0.0F);
    I sum = V::zero();
    for (std::uint32_t j = i; j < i + 32; j += 16) {
      // NaN times zero is NaN, which becomes -2^31 and as a byte 0.
      const I rounded = V::round_to_int(V::mul(V::load_f(q + j), inverse));
      V::store_chars(out.values + j, rounded);
      sum = V::add32(sum, rounded);
    }
    out.starts[i / 32] = finite ? -V::kSignedOffset * V::sum_ints(sum) : 0;
  }
}

// `count` values (a multiple of 16) of floats or halves as floats.
LOADLINE_INLINE void convert(TensorType type, const std::byte* source, std::size_t first, std::size_t count,
                             float* out) {
  if (type == TensorType::F16) {
    for (std::size_t i = 0; i < count; i += 16) V::store_f(out + i, V::halves(source + 2 * (first + i)));
  } else {
    for (std::size_t i = 0; i < count; i += 16) {
      V::store_f(out + i, V::load_f(reinterpret_cast<const float*>(source) + first + i));
    }
  }
}

// Adds q . K over `dims` dimensions (K as float [dims][32 cells]) to the scores of `count` rows.
template <int count>
void add_scores(const float* k, std::size_t dims, const float* const* q, std::size_t first_dim,
                float (*scores)[kCells]) {
  constexpr int kVectors = kCells / 16;
  F sums[count][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] = V::load_f(scores[r] + 16 * v);
  }
  for (std::size_t i = 0; i < dims; ++i) {
    F values[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) values[v] = V::load_f(k + i * kCells + 16 * static_cast<std::size_t>(v));
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) {
      const F factor = V::set(q[r][first_dim + i]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = V::fma(values[v], factor, sums[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) V::store_f(scores[r] + 16 * v, sums[r][v]);
  }
}

// Adds weights . V over `cells` cells (V as float [cell][kDims]) to 16 * vectors outputs of `count` rows.
template <int count>
void add_values(const float* v, std::size_t cells, const float (*weights)[kCells], float* const* out,
                std::size_t first_dim, std::size_t column) {
  constexpr int kVectors = V::kValueVectors;
  F sums[count][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j)
      sums[r][j] = V::load_f(out[r] + first_dim + column + 16 * static_cast<std::size_t>(j));
  }
  for (std::size_t c = 0; c < cells; ++c) {
    F values[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) values[j] = V::load_f(v + c * kDims + column + 16 * static_cast<std::size_t>(j));
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) {
      const F factor = V::set(weights[r][c]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) sums[r][j] = V::fma(values[j], factor, sums[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j)
      V::store_f(out[r] + first_dim + column + 16 * static_cast<std::size_t>(j), sums[r][j]);
  }
}

// The same for one vector of dimensions, where fewer than kValueVectors are left.
void add_values_narrow(const float* v, std::size_t cells, const float* weights, float* out) {
  F sum = V::load_f(out);
  for (std::size_t c = 0; c < cells; ++c) sum = V::fma(V::load_f(v + c * kDims), V::set(weights[c]), sum);
  V::store_f(out, sum);
}

// Fetches `lines` cache lines a little and some way beyond `part`, as products do with their weights: the parts of
// neighbouring heads follow each other, and mostly those of neighbouring pages. (Distances: the best of 2 to 6 KiB and
// 4 to 12 KiB on an Intel server processor, where K and V take turns every 8 KiB.)
template <int lines, std::size_t near, std::size_t far>
LOADLINE_INLINE void fetch_ahead(const std::byte* part) {
  unrolled<lines>(LOADLINE_EACH(i) { fetch_line<near, far>(part + std::size_t{64} * i); });
}
template <int lines>
LOADLINE_INLINE void fetch_keys(const std::byte* k) {
  fetch_ahead<lines, 3072, 6144>(k);
}
template <int lines>
LOADLINE_INLINE void fetch_values(const std::byte* v) {
  fetch_ahead<lines, 2048, 4096>(v);
}

// How values of a part are loaded as floats.
struct Floats {
  static constexpr int kBytes = 4;
  static LOADLINE_INLINE F load(const std::byte* part, std::size_t i) {
    return V::load_f(reinterpret_cast<const float*>(part) + i);
  }
  static LOADLINE_INLINE F value(const std::byte* v, std::size_t dim, std::size_t cell, std::size_t i) {
    return load(v, v_index(dim, i, cell));
  }
};
struct Halves {
  static constexpr int kBytes = 2;
  static LOADLINE_INLINE F load(const std::byte* part, std::size_t i) { return V::halves(part + 2 * i); }
  static LOADLINE_INLINE F value(const std::byte* v, std::size_t dim, std::size_t cell, std::size_t i) {
    return load(v, v_index(dim, i, cell));
  }
};
struct Quants {
  static constexpr int kBytes = 1;
  static LOADLINE_INLINE F value(const std::byte* v, std::size_t dim, std::size_t cell, std::size_t i) {
    std::uint16_t bits;
    std::memcpy(&bits, v + v_q8_scale(dim, i, cell), sizeof bits);
    return V::mul(V::to_float(V::chars(v + v_q8_value(dim, i, cell))), V::set(V::half(bits)));
  }
};

// Scores of `count` rows against K of Q8_0.
template <int count>
LOADLINE_INLINE void q8_scores(const std::byte* k, std::uint32_t dim, const RoundedQuery* q, float (*scores)[kCells]) {
  constexpr int kVectors = kCells / 16;
  using Dots = V::Dots<255>;
  F sums[count][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] = V::zero_f();
  }
  for (std::uint32_t i = 0; i < dim; i += 32, k += kQ8Group) {
    Dots products[count][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) products[r][v] = Dots::from(V::repeat(&q[r].starts[i / 32]));
    }
#pragma GCC unroll 8
    for (int u = 0; u < 8; ++u) {
      fetch_keys<2>(k + u * std::size_t{136});
      I values[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) values[v] = offset_signed(V::load(k + 2 * kCells + (2 * u + v) * 64));
#pragma GCC unroll 8
      for (int r = 0; r < count; ++r) {
        const I x = V::repeat(&q[r].values[i + 4 * static_cast<std::uint32_t>(u)]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) products[r][v].add(values[v], x);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const F scale = V::halves(k + 32 * v);
#pragma GCC unroll 8
      for (int r = 0; r < count; ++r) {
        sums[r][v] =
            V::fma(V::mul(V::to_float(products[r][v].total()), scale), V::set(q[r].scales[i / 32]), sums[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) V::store_f(scores[r] + 16 * v, sums[r][v]);
  }
}

// Scores of `count` rows against K of floats or halves, straight from the page.
template <int count, class Values>
LOADLINE_INLINE void float_scores(const std::byte* k, std::size_t dim, const float* const* q, float (*scores)[kCells]) {
  constexpr int kVectors = kCells / 16;
  F sums[count][kVectors];
  unrolled<count * kVectors>(LOADLINE_EACH(i) { sums[i / kVectors][i % kVectors] = V::zero_f(); });
  for (std::size_t i = 0; i < dim; ++i) {
    fetch_keys<kCells * Values::kBytes / 64>(k + i * kCells * Values::kBytes);
    F values[kVectors];
    unrolled<kVectors>(LOADLINE_EACH(v) { values[v] = Values::load(k, i * kCells + std::size_t{16} * v); });
    unrolled<count>(LOADLINE_EACH(r) {
      const F factor = V::set(q[r][i]);
      unrolled<kVectors>(LOADLINE_EACH(v) { sums[r][v] = V::fma(values[v], factor, sums[r][v]); });
    });
  }
  unrolled<count * kVectors>(
      LOADLINE_EACH(i) { V::store_f(scores[i / kVectors] + 16 * (i % kVectors), sums[i / kVectors][i % kVectors]); });
}

// Adds weights . V over `cells` cells to the outputs of `count` rows, straight from the page, where the dimensions are
// a multiple of 16 * V::kValueVectors. A few cells at a time: memory is read nearly in order then, though some
// dimensions of all of them come before the others.
constexpr std::size_t kValueCells = 16;
template <int count, class Values>
LOADLINE_INLINE void direct_values(const std::byte* v, std::size_t dim, std::size_t cells,
                                   const float (*weights)[kCells], float* const* out) {
  constexpr int kVectors = V::kValueVectors;
  constexpr std::size_t kStep = std::size_t{16} * kVectors;
  constexpr int kLines = kStep * Values::kBytes / 64;
  for (std::size_t begin = 0; begin < cells; begin += kValueCells) {
    const std::size_t end = begin + kValueCells < cells ? begin + kValueCells : cells;
    const std::byte* in_order = v + begin * dim * Values::kBytes;
    for (std::size_t first = 0; first < dim; first += kStep) {
      F sums[count][kVectors];
      unrolled<count * kVectors>(LOADLINE_EACH(i) {
        sums[i / kVectors][i % kVectors] = V::load_f(out[i / kVectors] + first + std::size_t{16} * (i % kVectors));
      });
      for (std::size_t c = begin; c < end; ++c) {
        fetch_values<(kLines > 0 ? kLines : 1)>(in_order);
        in_order += kStep * Values::kBytes;
        F values[kVectors];
        unrolled<kVectors>(LOADLINE_EACH(j) { values[j] = Values::value(v, dim, c, first + std::size_t{16} * j); });
        unrolled<count>(LOADLINE_EACH(r) {
          const F factor = V::set(weights[r][c]);
          unrolled<kVectors>(LOADLINE_EACH(j) { sums[r][j] = V::fma(values[j], factor, sums[r][j]); });
        });
      }
      unrolled<count * kVectors>(LOADLINE_EACH(i) {
        V::store_f(out[i / kVectors] + first + std::size_t{16} * (i % kVectors), sums[i / kVectors][i % kVectors]);
      });
    }
  }
}

// Calls f(Const<n>, first row) for blocks of at most `most` rows.
template <int most, class Function>
LOADLINE_INLINE void in_row_blocks(std::uint32_t rows, Function&& f) {
  std::uint32_t r = 0;
  for (; r + most <= rows; r += most) f(Const<most>{}, r);
  unrolled<most - 1>(LOADLINE_EACH(i) {
    if (rows - r == i + 1U) f(Const<i + 1>{}, r);
  });
}

}  // namespace
}  // namespace loadline::cpu
