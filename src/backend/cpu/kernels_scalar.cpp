// The scalar kernels: the meaning of the table in plain loops, with no care for speed beyond decoding a block once for
// all tokens. The other instruction sets are tested against the same oracle as these.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/attention_units.h"
#include "backend/cpu/kernel_sets.h"
#include "backend/cpu/kv_layout.h"
#include "backend/cpu/layout.h"
#include "backend/cpu/tile.h"
#include "base/half.h"

namespace loadline::cpu {
namespace {

using quant::ActivationKind;
using quant::Int8Block;

// Tokens whose products are kept on the stack at a time.
constexpr std::uint32_t kTokens = 64;

bool stopped(const StopFlag* stop) { return stop != nullptr && stop->load(std::memory_order_relaxed); }

// The largest magnitude of `count` values; NaN if any of them is infinite or NaN, so that it reaches the result.
float largest_magnitude(const float* x, std::uint64_t count) {
  std::uint32_t largest = 0;
  for (std::uint64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFU);
  return largest < 0x7F800000U ? std::bit_cast<float>(largest) : std::numeric_limits<float>::quiet_NaN();
}

void add_to(std::int16_t& sum, std::int8_t value) { sum = static_cast<std::int16_t>(sum + value); }

void prepare_int8(const float* x, std::uint64_t columns, Int8Block* out, std::uint64_t stride) {
  for (std::uint64_t first = 0; first < columns; first += quant::kActivationBlock, out += stride) {
    const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(quant::kActivationBlock, columns - first));
    const float largest = largest_magnitude(x + first, count);
    *out = {};
    if (largest < kNegligible) continue;
    out->scale = largest / 127.0F;
    if (std::isnan(largest)) continue;
    const float inverse = 127.0F / largest;
    for (int i = 0; i < static_cast<int>(count); ++i) {
      const auto value = static_cast<std::int8_t>(std::nearbyintf(x[first + i] * inverse));
      out->values[i] = value;
      add_to(out->sums16[quant::sum_index(i / 16)], value);
      add_to(out->sums32[quant::sum_index(i / 32)], value);
      out->starts16[i / 16] -= 128 * value;
      out->starts32[i / 32] -= 128 * value;
      out->start256 -= 128 * value;
    }
  }
}

// Values [first, first + count) of a prepared token as floats; first is a multiple of 256.
void restore(ActivationKind kind, const std::byte* activations, std::uint64_t columns, std::uint32_t tokens,
             std::uint32_t t, std::uint64_t first, std::uint64_t count, float* out) {
  if (kind == ActivationKind::Int8) {
    const Int8Block& block =
        reinterpret_cast<const Int8Block*>(activations)[first / quant::kActivationBlock * tokens + t];
    for (std::uint64_t i = 0; i < count; ++i) out[i] = block.scale * static_cast<float>(block.values[i]);
  } else {
    std::copy_n(reinterpret_cast<const float*>(activations) + t * align_up(columns, 16) + first, count, out);
  }
}

// sums[t] = W[row] . x[first_token + t] for up to kTokens tokens.
void row_products(const Matrix& weights, const std::byte* activations, std::uint32_t batch, std::uint64_t row,
                  std::uint32_t first_token, std::uint32_t tokens, float* sums) {
  const ActivationKind kind = quant::activation_kind(weights.type);
  std::fill_n(sums, tokens, 0.0F);
  std::byte bytes[quant::kActivationBlock * sizeof(float)];
  float w[quant::kActivationBlock];
  float x[quant::kActivationBlock];
  for (std::uint64_t first = 0; first < weights.columns; first += quant::kActivationBlock) {
    const std::uint64_t count = std::min<std::uint64_t>(quant::kActivationBlock, weights.columns - first);
    extract(weights, row, first, count, bytes);
    quant::decode_row(weights.type, bytes, w, count);
    for (std::uint32_t t = 0; t < tokens; ++t) {
      restore(kind, activations, weights.columns, batch, first_token + t, first, count, x);
      float sum = 0;
      for (std::uint64_t i = 0; i < count; ++i) sum += w[i] * x[i];
      sums[t] += sum;
    }
  }
}

float silu(float x) { return x / (1.0F + std::exp(-x)); }

void matmul_range(const MatmulTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop) {
  const std::uint64_t end_row = std::min(end_tile * kTileRows, task.weights.rows);
  float sums[kTokens];
  for (std::uint64_t row = begin_tile * kTileRows; row < end_row; ++row) {
    for (std::uint32_t first = 0; first < task.tokens; first += kTokens) {
      if (stopped(stop)) return;
      const std::uint32_t tokens = std::min(kTokens, task.tokens - first);
      row_products(task.weights, task.activations, task.tokens, row, first, tokens, sums);
      for (std::uint32_t t = 0; t < tokens; ++t) {
        float& out = task.out[(first + t) * task.out_stride + row];
        if (task.gate) {
          out = silu(out) * sums[t];
        } else {
          out = sums[t] + (task.bias != nullptr ? task.bias[row] : 0.0F) + (task.accumulate ? out : 0.0F);
        }
      }
    }
  }
}

void gated_range(const GatedTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop) {
  const std::uint64_t end_row = std::min(end_tile * kTileRows, task.gate.rows);
  float gates[kTokens];
  float ups[kTokens];
  for (std::uint64_t row = begin_tile * kTileRows; row < end_row; ++row) {
    for (std::uint32_t first = 0; first < task.tokens; first += kTokens) {
      if (stopped(stop)) return;
      const std::uint32_t tokens = std::min(kTokens, task.tokens - first);
      row_products(task.gate, task.gate_activations, task.tokens, row, first, tokens, gates);
      row_products(task.up, task.up_activations, task.tokens, row, first, tokens, ups);
      for (std::uint32_t t = 0; t < tokens; ++t) {
        task.out[(first + t) * task.out_stride + row] = silu(gates[t]) * ups[t];
      }
    }
  }
}

// 32 values as Q8_0: a half, and bytes relative to what the half holds.
void round_q8(const float* x, std::uint16_t& scale, std::int8_t* values) {
  scale = float_to_half(largest_magnitude(x, 32) / 127.0F);
  const float held = half_to_float(scale);
  const float inverse = held > 0 && std::isfinite(held) ? 1.0F / held : 0.0F;
  for (int i = 0; i < 32; ++i) {
    values[i] = inverse > 0 ? static_cast<std::int8_t>(std::nearbyintf(std::clamp(x[i] * inverse, -127.0F, 127.0F)))
                            : std::int8_t{0};
  }
}

void store_head(TensorType type, bool transposed, std::byte* part, std::uint32_t dim, std::uint32_t cell,
                const float* x) {
  if (type == TensorType::Q8_0) {
    for (std::uint32_t i = 0; i < dim; i += 32) {
      std::uint16_t scale = 0;
      std::int8_t values[32];
      round_q8(x + i, scale, values);
      std::memcpy(part + (transposed ? k_q8_scale(i, cell) : v_q8_scale(dim, i, cell)), &scale, sizeof scale);
      for (std::uint32_t j = 0; j < 32; ++j) {
        const std::size_t at = transposed ? k_q8_value(i + j, cell) : v_q8_value(dim, i + j, cell);
        part[at] = static_cast<std::byte>(values[j]);
      }
    }
    return;
  }
  for (std::uint32_t i = 0; i < dim; ++i) {
    const std::size_t index = transposed ? k_index(i, cell) : v_index(dim, i, cell);
    if (type == TensorType::F16) {
      reinterpret_cast<std::uint16_t*>(part)[index] = float_to_half(x[i]);
    } else {
      reinterpret_cast<float*>(part)[index] = x[i];
    }
  }
}

float load_value(TensorType type, bool transposed, const std::byte* part, std::uint32_t dim, std::uint32_t i,
                 std::uint32_t cell) {
  if (type == TensorType::Q8_0) {
    std::uint16_t scale = 0;
    std::memcpy(&scale, part + (transposed ? k_q8_scale(i, cell) : v_q8_scale(dim, i, cell)), sizeof scale);
    const std::byte value = part[transposed ? k_q8_value(i, cell) : v_q8_value(dim, i, cell)];
    return half_to_float(scale) * static_cast<float>(static_cast<std::int8_t>(value));
  }
  const std::size_t index = transposed ? k_index(i, cell) : v_index(dim, i, cell);
  if (type == TensorType::F16) return half_to_float(reinterpret_cast<const std::uint16_t*>(part)[index]);
  return reinterpret_cast<const float*>(part)[index];
}

// One query head over cells [begin, end): sums[head_dim_v] of exp(score - maximum) * v, unnormalised.
struct Partial {
  float maximum;
  float weight;
};
Partial attend(const AttentionTask& task, const TokenRun& run, std::uint32_t token, std::uint32_t head,
               std::uint32_t begin, std::uint32_t end, float* sums) {
  const KvLayer& kv = task.kv;
  const std::uint32_t position = run.first_position + (token - run.first_token);
  const std::uint32_t kv_head = head / (task.heads / kv.kv_heads);
  const float* q = task.q + (std::size_t{token} * task.heads + head) * kv.head_dim_k;
  Partial partial = {-std::numeric_limits<float>::infinity(), 0.0F};
  std::fill_n(sums, kv.head_dim_v, 0.0F);
  for (std::uint32_t cell = begin; cell < end; ++cell) {
    const std::uint32_t page = run.pages[cell / quant::kKvPageCells];
    const std::uint32_t in_page = cell % quant::kKvPageCells;
    const std::byte* k = k_part(kv, page, kv_head);
    const std::byte* v = kv.v != nullptr ? v_part(kv, page, kv_head) : nullptr;
    float score = 0;
    for (std::uint32_t i = 0; i < kv.head_dim_k; ++i)
      score += q[i] * load_value(kv.k_type, true, k, kv.head_dim_k, i, in_page);
    score *= task.scale;
    if (task.softcap != 0) score = task.softcap * std::tanh(score / task.softcap);
    if (task.alibi != 0) score -= alibi_slope(task, head) * static_cast<float>(position - cell);
    if (score > partial.maximum) {
      const float factor = std::exp(partial.maximum - score);
      partial.weight *= factor;
      for (std::uint32_t i = 0; i < kv.head_dim_v; ++i) sums[i] *= factor;
      partial.maximum = score;
    }
    const float weight = std::exp(score - partial.maximum);
    partial.weight += weight;
    for (std::uint32_t i = 0; i < kv.head_dim_v; ++i) {
      sums[i] += weight * (v != nullptr ? load_value(kv.v_type, false, v, kv.head_dim_v, i, in_page)
                                        : load_value(kv.k_type, true, k, kv.head_dim_k, i, in_page));
    }
  }
  return partial;
}

}  // namespace

namespace scalar {

void prepare(ActivationKind kind, const float* x, std::uint64_t stride, std::uint64_t columns, std::uint32_t begin,
             std::uint32_t end, std::uint32_t tokens, std::byte* out) {
  for (std::uint32_t t = begin; t < end; ++t) {
    const float* row = x + t * stride;
    if (kind == ActivationKind::Int8) {
      prepare_int8(row, columns, reinterpret_cast<Int8Block*>(out) + t, tokens);
    } else {
      const std::uint64_t padded = align_up(columns, 16);
      float* target = reinterpret_cast<float*>(out) + t * padded;
      std::copy_n(row, columns, target);
      std::fill(target + columns, target + padded, 0.0F);
    }
  }
}

std::uint32_t few_tokens(TensorType /*type*/) { return kFew; }

void matmul(const MatmulTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop) {
  matmul_range(task, begin_tile, end_tile, stop);
  if (task.alongside != 0) matmul_range(task, begin_tile + task.alongside, end_tile + task.alongside, stop);
}

void gated(const GatedTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop) {
  gated_range(task, begin_tile, end_tile, stop);
  if (task.alongside != 0) gated_range(task, begin_tile + task.alongside, end_tile + task.alongside, stop);
}

void rms_norm(const float* x, const float* weight, float* out, std::uint64_t columns, std::uint64_t begin,
              std::uint64_t end, float epsilon) {
  float squares = 0;
  for (std::uint64_t c = 0; c < columns; ++c) squares += x[c] * x[c];
  const float factor = 1.0F / std::sqrt(squares / static_cast<float>(columns) + epsilon);
  for (std::uint64_t c = begin; c < end; ++c) out[c] = x[c] * factor * weight[c];
}

void rope(float* x, std::uint32_t heads, std::uint32_t head_dim, std::uint32_t rotary, const float* cosines,
          const float* sines, bool neox) {
  const std::uint32_t half = rotary / 2;
  for (std::uint32_t h = 0; h < heads; ++h, x += head_dim) {
    for (std::uint32_t i = 0; i < half; ++i) {
      float& a = x[neox ? i : 2 * i];
      float& b = x[neox ? i + half : 2 * i + 1];
      const float rotated = a * cosines[i] - b * sines[i];
      b = a * sines[i] + b * cosines[i];
      a = rotated;
    }
  }
}

void add(float* target, const float* source, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) target[i] += source[i];
}

void store_kv(const KvLayer& kv, std::uint32_t page, std::uint32_t cell, const float* k, const float* v,
              std::uint32_t begin_head, std::uint32_t end_head) {
  for (std::uint32_t h = begin_head; h < end_head; ++h) {
    store_head(kv.k_type, true, k_part(kv, page, h), kv.head_dim_k, cell, k + std::size_t{h} * kv.head_dim_k);
    if (kv.v == nullptr) continue;
    store_head(kv.v_type, false, v_part(kv, page, h), kv.head_dim_v, cell, v + std::size_t{h} * kv.head_dim_v);
  }
}

void attention(const AttentionTask& task, std::uint64_t begin_unit, std::uint64_t end_unit, const StopFlag* stop) {
  for (std::uint64_t u = begin_unit; u < end_unit; ++u) {
    const AttentionUnit unit = attention_unit(task, u);
    for (std::uint32_t t = unit.begin_token; t < unit.end_token; ++t) {
      const std::uint32_t token = unit.run->first_token + t;
      const std::uint32_t visible = unit.run->first_position + t + 1;
      for (std::uint32_t head = unit.begin_head; head < unit.end_head; ++head) {
        if (stopped(stop)) return;
        float* sums = unit.split ? attention_partial(task, token, head, unit.chunk)
                                 : task.out + (std::size_t{token} * task.heads + head) * task.kv.head_dim_v;
        const Partial partial =
            attend(task, *unit.run, token, head, std::max(unit.begin_cell, task.first_seen(visible - 1)),
                   std::min(unit.end_cell, visible), sums);
        if (unit.split) {
          sums[align_up(task.kv.head_dim_v, 16)] = partial.maximum;
          sums[align_up(task.kv.head_dim_v, 16) + 1] = partial.weight;
        } else {
          float weight = partial.weight;
          float factor = 1;
          if (task.sinks != nullptr) {
            const float largest = std::max(partial.maximum, task.sinks[head]);
            factor = std::exp(partial.maximum - largest);
            weight = weight * factor + std::exp(task.sinks[head] - largest);
          }
          for (std::uint32_t i = 0; i < task.kv.head_dim_v; ++i) sums[i] *= factor / weight;
        }
      }
    }
  }
}

void attention_finish(const AttentionTask& task, std::uint32_t begin_token, std::uint32_t end_token,
                      std::uint32_t begin_head, std::uint32_t end_head) {
  const std::uint32_t dim = task.kv.head_dim_v;
  for (std::uint32_t token = begin_token; token < end_token; ++token) {
    const std::uint32_t chunks = attention_chunks(task, token);
    if (chunks <= 1) continue;
    for (std::uint32_t head = begin_head; head < end_head; ++head) {
      float maximum = -std::numeric_limits<float>::infinity();
      for (std::uint32_t c = 0; c < chunks; ++c) {
        maximum = std::max(maximum, attention_partial(task, token, head, c)[align_up(dim, 16)]);
      }
      float* out = task.out + (std::size_t{token} * task.heads + head) * dim;
      std::fill_n(out, dim, 0.0F);
      float weight = 0;
      if (task.sinks != nullptr) {
        maximum = std::max(maximum, task.sinks[head]);
        weight = std::exp(task.sinks[head] - maximum);
      }
      for (std::uint32_t c = 0; c < chunks; ++c) {
        const float* partial = attention_partial(task, token, head, c);
        const float factor = std::exp(partial[align_up(dim, 16)] - maximum);
        weight += factor * partial[align_up(dim, 16) + 1];
        for (std::uint32_t i = 0; i < dim; ++i) out[i] += factor * partial[i];
      }
      for (std::uint32_t i = 0; i < dim; ++i) out[i] /= weight;
    }
  }
}

}  // namespace scalar
}  // namespace loadline::cpu
