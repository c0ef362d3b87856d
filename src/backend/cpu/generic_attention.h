// Attention in one pass over K and V, written once over the primitives of an instruction set. Internal linkage.
//
// A unit (attention_units.h) is up to 32 query rows that share a KV head. For each page of 32 cells: the scores of all
// rows (cells in lanes), the weights (online softmax), then the weighted sum of V (dimensions in lanes), which grows in
// the output itself. For many rows, parts of K and V become float32 in the L1 cache once for all of them; the few rows
// of one token are multiplied straight from the page. K of Q8_0 is multiplied as it is, with the query rounded to 8
// bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backend/cpu/attention_units.h"
#include "backend/cpu/generic_activations.h"
#include "backend/cpu/generic_products.h"
#include "backend/cpu/generic_results.h"
#include "backend/cpu/kernel_sets.h"
#include "backend/cpu/kv_layout.h"

namespace loadline::cpu {
namespace {

// A score no visible cell has; finite, so that differences of two of them are zero and not NaN.
constexpr float kMasked = -1e30F;

// How far a score may lie above what weights are relative to. A new greatest score is no reason to scale everything
// that has been summed: only one by which weights, and sums of them, would leave the range where floats are at their
// best.
constexpr float kSlack = 8.0F;

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

void page_scores(const KvLayer& kv, const std::byte* k, const RoundedQuery* rounded, Rows& rows) {
  if (kv.k_type == TensorType::Q8_0) {
    in_row_blocks<V::kScoreRows>(rows.count, [&](auto count, std::uint32_t r) __attribute__((always_inline)) {
      q8_scores<count>(k, kv.head_dim_k, rounded + r, rows.scores + r);
    });
    return;
  }
  alignas(64) float part[kDims * kCells];
  for (std::uint32_t r = 0; r < rows.count; ++r) {
    for (std::size_t c = 0; c < kCells; c += 16) V::store_f(rows.scores[r] + c, V::zero_f());
  }
  for (std::size_t i = 0; i < kv.head_dim_k; i += kDims) {
    const std::size_t dims = kv.head_dim_k - i < kDims ? kv.head_dim_k - i : kDims;
    convert(kv.k_type, k, i * kCells, dims * kCells, part);
    in_row_blocks<V::kScoreRows>(rows.count, [&](auto count, std::uint32_t r) __attribute__((always_inline)) {
      add_scores<count>(part, dims, rows.q + r, i, rows.scores + r);
    });
  }
}

// -1 in the first n of 16 lanes.
LOADLINE_INLINE I first_lanes(std::int32_t n) {
  static constexpr std::int32_t kLanes[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
  return V::load(kLanes + 16 - (n < 0 ? 0 : n > 16 ? 16 : n));
}

// Makes the greatest of a row's scores what weights are relative to, and scales what has been summed so far likewise.
void raise_reference(const KvLayer& kv, const F (&scores)[2], std::uint32_t r, Rows& rows) {
  const float before = rows.reference[r];
  const float largest = V::largest(V::max(scores[0], scores[1]));
  rows.reference[r] = largest;
  if (before == kMasked) return;  // nothing has been summed yet
  alignas(64) float lanes[16];
  V::store_f(lanes, exponential(V::set(before - largest)));
  V::store_f(rows.weights[r], V::mul(V::load_f(rows.weights[r]), V::set(lanes[0])));
  float* out = rows.out[r];
  for (std::uint32_t i = 0; i < kv.head_dim_v; ++i) out[i] *= lanes[0];
}

// Turns scores into weights relative to the reference.
void weigh_page(const KvLayer& kv, float scale, std::uint32_t first_cell, Rows& rows) {
  const F factor = V::set(scale);
  for (std::uint32_t r = 0; r < rows.count; ++r) {
    const auto seen = static_cast<std::int32_t>(rows.visible[r]) - static_cast<std::int32_t>(first_cell);
    const I mask[2] = {first_lanes(seen), first_lanes(seen - 16)};
    F scores[2];
    unrolled<2>(LOADLINE_EACH(v) {
      const I kept = V::and_(V::as_int(V::mul(V::load_f(rows.scores[r] + 16 * v), factor)), mask[v]);
      const I masked = V::and_(V::as_int(V::set(kMasked)), V::xor_(mask[v], V::ints(-1)));
      scores[v] = V::as_float(V::or_(kept, masked));
    });
    const F most = V::set(rows.reference[r] + kSlack);
    if (V::any_greater(V::max(scores[0], scores[1]), most)) raise_reference(kv, scores, r, rows);
    const F reference = V::set(rows.reference[r]);
    F sum = V::load_f(rows.weights[r]);
    unrolled<2>(LOADLINE_EACH(v) {
      const F weight = V::as_float(V::and_(V::as_int(exponential(V::sub(scores[v], reference))), mask[v]));
      V::store_f(rows.scores[r] + 16 * v, weight);
      sum = V::add(sum, weight);
    });
    V::store_f(rows.weights[r], sum);
  }
}

// V of `cells` cells, dimensions [first, first + dims), as float [cell][kDims]. dims is a multiple of 16, except that
// of F32 and F16 the last may be any: then the rest of a row is zero.
void convert_values(const KvLayer& kv, const std::byte* v, std::size_t cells, std::size_t first, std::size_t dims,
                    float* out) {
  const std::size_t dim = kv.head_dim_v;
  const std::size_t whole = dims / 16 * 16;
  for (std::size_t c = 0; c < cells; ++c, out += kDims) {
    if (kv.v_type == TensorType::Q8_0) {
      for (std::size_t i = 0; i < dims; i += 16) {
        std::uint16_t bits;
        std::memcpy(&bits, v + v_q8_scale(dim, first + i, c), sizeof bits);
        const F scale = V::set(V::half(bits));
        V::store_f(out + i, V::mul(V::to_float(V::chars(v + v_q8_value(dim, first + i, c))), scale));
      }
      continue;
    }
    convert(kv.v_type, v, c * dim + first, whole, out);
    if (whole == dims) continue;
    alignas(64) std::byte rest[64] = {};
    const std::size_t size = kv.v_type == TensorType::F16 ? 2 : 4;
    std::memcpy(rest, v + (c * dim + first + whole) * size, (dims - whole) * size);
    convert(kv.v_type, rest, 0, 16, out + whole);
  }
}

void page_values(const KvLayer& kv, const std::byte* v, std::size_t cells, Rows& rows) {
  alignas(64) float part[kCells * kDims];
  for (std::size_t i = 0; i < kv.head_dim_v; i += kDims) {
    const std::size_t dims = kv.head_dim_v - i < kDims ? kv.head_dim_v - i : kDims;
    convert_values(kv, v, cells, i, dims, part);
    constexpr std::size_t kWide = 16 * V::kValueVectors;
    std::size_t column = 0;
    for (; column + kWide <= dims; column += kWide) {
      in_row_blocks<V::kValueRows>(rows.count, [&](auto count, std::uint32_t r) __attribute__((always_inline)) {
        add_values<count>(part + 0, cells, rows.scores + r, rows.out + r, i, column);
      });
    }
    for (; column + 16 <= dims; column += 16) {
      for (std::uint32_t r = 0; r < rows.count; ++r) {
        add_values_narrow(part + column, cells, rows.scores[r], rows.out[r] + i + column);
      }
    }
    for (; column < dims; ++column) {
      for (std::uint32_t r = 0; r < rows.count; ++r) {
        for (std::size_t c = 0; c < cells; ++c) rows.out[r][i + column] += rows.scores[r][c] * part[c * kDims + column];
      }
    }
  }
}

// Up to kFewRows rows are attended to straight from the pages: those of a token or two. kRowBlock at a time, all but
// the first from the cache.
constexpr std::uint32_t kFewRows = 8;
constexpr int kRowBlock = V::kScoreRows < V::kValueRows ? V::kScoreRows : V::kValueRows;

void scores_of_few(const KvLayer& kv, const std::byte* k, const RoundedQuery* rounded, Rows& rows) {
  in_row_blocks<kRowBlock>(rows.count, [&](auto count, std::uint32_t r) __attribute__((always_inline)) {
    switch (kv.k_type) {
      case TensorType::Q8_0: return q8_scores<count>(k, kv.head_dim_k, rounded + r, rows.scores + r);
      case TensorType::F16: return float_scores<count, Halves>(k, kv.head_dim_k, rows.q + r, rows.scores + r);
      default: return float_scores<count, Floats>(k, kv.head_dim_k, rows.q + r, rows.scores + r);
    }
  });
}

void values_of_few(const KvLayer& kv, const std::byte* v, std::size_t cells, Rows& rows) {
  in_row_blocks<kRowBlock>(rows.count, [&](auto count, std::uint32_t r) __attribute__((always_inline)) {
    switch (kv.v_type) {
      case TensorType::Q8_0:
        return direct_values<count, Quants>(v, kv.head_dim_v, cells, rows.scores + r, rows.out + r);
      case TensorType::F16: return direct_values<count, Halves>(v, kv.head_dim_v, cells, rows.scores + r, rows.out + r);
      default: return direct_values<count, Floats>(v, kv.head_dim_v, cells, rows.scores + r, rows.out + r);
    }
  });
}

// A head's part of the next page that the hardware does not see coming.
LOADLINE_INLINE void fetch_part(const std::byte* part, TensorType type, std::uint32_t head_dim) {
  const std::size_t bytes = part_bytes(type, head_dim);
  for (std::size_t i = 0; i < bytes; i += 64) V::prefetch_far(part + i);
}

void begin_unit_rows(const AttentionTask& task, const AttentionUnit& unit, Rows& rows) {
  rows.count = 0;
  for (std::uint32_t t = unit.begin_token; t < unit.end_token; ++t) {
    for (std::uint32_t head = unit.begin_head; head < unit.end_head; ++head, ++rows.count) {
      const std::size_t index = std::size_t{unit.run->first_token + t} * task.heads + head;
      rows.q[rows.count] = task.q + index * task.kv.head_dim_k;
      rows.out[rows.count] = unit.split ? attention_partial(task, unit.run->first_token + t, head, unit.chunk)
                                        : task.out + index * task.kv.head_dim_v;
      rows.visible[rows.count] = unit.run->first_position + t + 1;
      rows.reference[rows.count] = kMasked;
      V::store_f(rows.weights[rows.count], V::zero_f());
      std::memset(rows.out[rows.count], 0, task.kv.head_dim_v * sizeof(float));
    }
  }
}

void finish_unit_rows(const AttentionTask& task, const AttentionUnit& unit, const Rows& rows) {
  const std::uint32_t dim = task.kv.head_dim_v;
  for (std::uint32_t r = 0; r < rows.count; ++r) {
    float* out = rows.out[r];
    const float weight = V::sum(V::load_f(rows.weights[r]));
    if (unit.split) {
      float* tail = out + (dim + 15) / 16 * 16;
      tail[0] = rows.reference[r];
      tail[1] = weight;
    } else {
      const float factor = 1.0F / weight;
      for (std::uint32_t i = 0; i < dim; ++i) out[i] *= factor;
    }
  }
}

void attend(const AttentionTask& task, const AttentionUnit& unit, const StopFlag* stop) {
  const KvLayer& kv = task.kv;
  Rows rows;
  begin_unit_rows(task, unit, rows);
  RoundedQuery rounded[kUnitRows];
  if (kv.k_type == TensorType::Q8_0) {
    for (std::uint32_t r = 0; r < rows.count; ++r) round_query(rows.q[r], kv.head_dim_k, rounded[r]);
  }
  for (std::uint32_t cell = unit.begin_cell; cell < unit.end_cell; cell += kCells) {
    if (stopped(stop)) return;
    const std::uint32_t page = unit.run->pages[cell / kCells];
    const std::uint32_t left = unit.end_cell - cell;
    const bool more = left > kCells;
    const std::uint32_t next = more ? unit.run->pages[cell / kCells + 1] : 0;
    if (more) fetch_part(k_part(kv, next, unit.kv_head), kv.k_type, kv.head_dim_k);
    page_scores(kv, k_part(kv, page, unit.kv_head), rounded, rows);
    if (more) fetch_part(v_part(kv, next, unit.kv_head), kv.v_type, kv.head_dim_v);
    weigh_page(kv, task.scale, cell, rows);
    page_values(kv, v_part(kv, page, unit.kv_head), left < kCells ? left : kCells, rows);
  }
  finish_unit_rows(task, unit, rows);
}

// Units of few rows that differ in their KV head alone, page by page: so K and V are read in long runs.
constexpr std::uint32_t kTogether = 8;
void attend_together(const AttentionTask& task, const AttentionUnit* units, std::uint32_t count, const StopFlag* stop) {
  const KvLayer& kv = task.kv;
  Rows rows[kTogether];
  RoundedQuery rounded[kTogether][kFewRows];
  for (std::uint32_t u = 0; u < count; ++u) {
    begin_unit_rows(task, units[u], rows[u]);
    if (kv.k_type != TensorType::Q8_0) continue;
    for (std::uint32_t r = 0; r < rows[u].count; ++r) round_query(rows[u].q[r], kv.head_dim_k, rounded[u][r]);
  }
  for (std::uint32_t cell = units[0].begin_cell; cell < units[0].end_cell; cell += kCells) {
    if (stopped(stop)) return;
    const std::uint32_t page = units[0].run->pages[cell / kCells];
    const std::uint32_t left = units[0].end_cell - cell;
    for (std::uint32_t u = 0; u < count; ++u) {
      scores_of_few(kv, k_part(kv, page, units[u].kv_head), rounded[u], rows[u]);
      weigh_page(kv, task.scale, cell, rows[u]);
      values_of_few(kv, v_part(kv, page, units[u].kv_head), left < kCells ? left : kCells, rows[u]);
    }
  }
  for (std::uint32_t u = 0; u < count; ++u) finish_unit_rows(task, units[u], rows[u]);
}

LOADLINE_INLINE bool has_few_rows(const AttentionUnit& unit) {
  return (unit.end_token - unit.begin_token) * (unit.end_head - unit.begin_head) <= kFewRows;
}
LOADLINE_INLINE bool same_cells(const AttentionUnit& a, const AttentionUnit& b) {
  return a.run == b.run && a.begin_token == b.begin_token && a.begin_cell == b.begin_cell && a.end_cell == b.end_cell;
}

}  // namespace

namespace LOADLINE_ISA {

void attention(const AttentionTask& task, std::uint64_t begin_unit, std::uint64_t end_unit, const StopFlag* stop) {
  const bool direct = task.kv.head_dim_v % (16 * V::kValueVectors) == 0;
  AttentionUnit units[kTogether];
  for (std::uint64_t u = begin_unit; u < end_unit;) {
    if (stopped(stop)) return;
    std::uint32_t count = 0;
    while (u + count < end_unit && count < kTogether) {
      units[count] = attention_unit(task, u + count);
      if (!direct || !has_few_rows(units[count]) || !same_cells(units[0], units[count])) break;
      ++count;
    }
    if (count > 0) {
      attend_together(task, units, count, stop);
      u += count;
    } else {
      attend(task, units[0], stop);
      ++u;
    }
  }
}

void attention_finish(const AttentionTask& task, std::uint32_t begin_token, std::uint32_t end_token,
                      std::uint32_t begin_head, std::uint32_t end_head) {
  const std::uint32_t dim = task.kv.head_dim_v;
  const std::uint32_t tail = (dim + 15) / 16 * 16;
  for (std::uint32_t token = begin_token; token < end_token; ++token) {
    const std::uint32_t chunks = attention_chunks(task, token);
    if (chunks <= 1) continue;
    for (std::uint32_t head = begin_head; head < end_head; ++head) {
      float maximum = kMasked;
      for (std::uint32_t c = 0; c < chunks; ++c) {
        const float other = attention_partial(task, token, head, c)[tail];
        if (other > maximum) maximum = other;
      }
      float* __restrict out = task.out + (std::size_t{token} * task.heads + head) * dim;
      std::memset(out, 0, dim * sizeof(float));
      float weight = 0;
      for (std::uint32_t c = 0; c < chunks; ++c) {
        const float* __restrict partial = attention_partial(task, token, head, c);
        if (partial[tail + 1] == 0) continue;  // a chunk this token does not see
        alignas(64) float factor[16];
        V::store_f(factor, exponential(V::set(partial[tail] - maximum)));
        weight += factor[0] * partial[tail + 1];
        for (std::uint32_t i = 0; i < dim; ++i) out[i] += factor[0] * partial[i];
      }
      const float inverse = 1.0F / weight;
      for (std::uint32_t i = 0; i < dim; ++i) out[i] *= inverse;
    }
  }
}

}  // namespace LOADLINE_ISA
}  // namespace loadline::cpu
