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
#include "backend/cpu/generic_attention_pages.h"
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

alignas(64) constexpr float kLaneNumbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Scores in full, where softmax takes more than the products times a factor.
void finish_scores(const AttentionTask& task, std::uint32_t first_cell, Rows& rows) {
  const F factor = V::set(task.softcap != 0 ? task.scale / task.softcap : task.scale);
  for (std::uint32_t r = 0; r < rows.count; ++r) {
    unrolled<2>(LOADLINE_EACH(v) {
      F score = V::mul(V::load_f(rows.scores[r] + 16 * v), factor);
      if (task.softcap != 0) score = V::mul(hyperbolic_tangent(score), V::set(task.softcap));
      if (task.alibi != 0) {
        const auto distance = static_cast<float>(static_cast<std::int32_t>(first_cell + 16 * v) -
                                                 static_cast<std::int32_t>(rows.position[r]));
        score = V::fma(V::add(V::load_f(kLaneNumbers), V::set(distance)), V::set(rows.slope[r]), score);
      }
      V::store_f(rows.scores[r] + 16 * v, score);
    });
  }
}
LOADLINE_INLINE bool has_plain_scores(const AttentionTask& task) { return task.softcap == 0 && task.alibi == 0; }

// Turns scores into weights relative to the reference.
void weigh_page(const AttentionTask& task, std::uint32_t first_cell, Rows& rows) {
  const KvLayer& kv = task.kv;
  if (!has_plain_scores(task)) finish_scores(task, first_cell, rows);
  const F factor = V::set(has_plain_scores(task) ? task.scale : 1.0F);
  for (std::uint32_t r = 0; r < rows.count; ++r) {
    const auto seen = static_cast<std::int32_t>(rows.visible[r]) - static_cast<std::int32_t>(first_cell);
    I mask[2] = {first_lanes(seen), first_lanes(seen - 16)};
    if (rows.first[r] > first_cell) {
      const auto hidden = static_cast<std::int32_t>(rows.first[r] - first_cell);
      mask[0] = V::and_(mask[0], V::xor_(first_lanes(hidden), V::ints(-1)));
      mask[1] = V::and_(mask[1], V::xor_(first_lanes(hidden - 16), V::ints(-1)));
    }
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

// The same from the keys' part of a page, where values are keys' first dimensions.
void convert_keys(const KvLayer& kv, const std::byte* k, std::size_t cells, std::size_t first, std::size_t dims,
                  float* out) {
  for (std::size_t i = 0; i < dims; ++i) {
    const std::size_t dim = first + i;
    if (kv.k_type == TensorType::Q8_0) {
      for (std::size_t c = 0; c < cells; ++c) {
        std::uint16_t bits;
        std::memcpy(&bits, k + k_q8_scale(dim, c), sizeof bits);
        const auto value = static_cast<std::int8_t>(k[k_q8_value(dim, c)]);
        out[c * kDims + i] = V::half(bits) * static_cast<float>(value);
      }
      continue;
    }
    alignas(64) float row[kCells];
    convert(kv.k_type, k, k_index(dim, 0), kCells, row);
    for (std::size_t c = 0; c < cells; ++c) out[c * kDims + i] = row[c];
  }
  for (std::size_t i = dims; i % 16 != 0; ++i) {
    for (std::size_t c = 0; c < cells; ++c) out[c * kDims + i] = 0;
  }
}

// `v`: the values' part of a page, or the keys' where values are in them.
void page_values(const KvLayer& kv, const std::byte* v, std::size_t cells, Rows& rows) {
  alignas(64) float part[kCells * kDims];
  for (std::size_t i = 0; i < kv.head_dim_v; i += kDims) {
    const std::size_t dims = kv.head_dim_v - i < kDims ? kv.head_dim_v - i : kDims;
    if (kv.v == nullptr) {
      convert_keys(kv, v, cells, i, dims, part);
    } else {
      convert_values(kv, v, cells, i, dims, part);
    }
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
      const std::uint32_t position = unit.run->first_position + t;
      rows.visible[rows.count] = position + 1;
      rows.first[rows.count] = task.first_seen(position);
      rows.position[rows.count] = position;
      rows.slope[rows.count] = task.alibi != 0 ? alibi_slope(task, head) : 0.0F;
      rows.reference[rows.count] = kMasked;
      V::store_f(rows.weights[rows.count], V::zero_f());
      std::memset(rows.out[rows.count], 0, task.kv.head_dim_v * sizeof(float));
    }
  }
}

// Counts a sink in: the sum of weights with it, relative to the larger of it and the reference; and what has been
// summed so far is to be multiplied by.
struct WithSink {
  float weight, factor;
};
LOADLINE_INLINE WithSink with_sink(float sink, float reference, float weight) {
  const float largest = sink > reference ? sink : reference;
  alignas(64) float factors[16];
  V::store_f(factors, exponential(V::set(reference - largest)));
  const float factor = factors[0];
  V::store_f(factors, exponential(V::set(sink - largest)));
  return {weight * factor + factors[0], factor};
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
      float factor = 1.0F / weight;
      if (task.sinks != nullptr) {
        const std::uint32_t heads = unit.end_head - unit.begin_head;
        const WithSink sum = with_sink(task.sinks[unit.begin_head + r % heads], rows.reference[r], weight);
        factor = sum.factor / sum.weight;
      }
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
    if (more && kv.v != nullptr) fetch_part(v_part(kv, next, unit.kv_head), kv.v_type, kv.head_dim_v);
    weigh_page(task, cell, rows);
    const std::byte* v = kv.v != nullptr ? v_part(kv, page, unit.kv_head) : k_part(kv, page, unit.kv_head);
    page_values(kv, v, left < kCells ? left : kCells, rows);
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
      weigh_page(task, cell, rows[u]);
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
  const bool direct = task.kv.v != nullptr && task.kv.head_dim_v % (16 * V::kValueVectors) == 0;
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
      if (task.sinks != nullptr) {
        const WithSink sum = with_sink(task.sinks[head], maximum, 0.0F);
        weight = sum.weight;
        if (task.sinks[head] > maximum) maximum = task.sinks[head];
      }
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
