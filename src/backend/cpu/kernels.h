// The CPU kernels: one table per instruction set, chosen at run time, all with the same meaning.
// Kernels compute and nothing else: no threads, no allocation, no errors. Who calls them owes valid pointers and the
// stated alignment; work is split by the caller over tiles, heads or tokens, and results never depend on the split.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "backend/batch.h"
#include "backend/cpu/vector_kernels.h"
#include "quant/activation.h"
#include "quant/format.h"
#include "quant/kv_page.h"

namespace loadline::cpu {

using quant::TensorType;

// Rows per tile of the Rows16 layout: 16 rows interleaved in units of 4 bytes (2 for 16-bit floats), block after block
// along the row; the same bytes in another order, one layout for every instruction set. Rows past the last whole tile
// stay as in the file, after the tiles.
constexpr std::uint32_t kTileRows = 16;

// A weight matrix [rows][columns] in the Rows16 layout, 64-byte aligned.
struct Matrix {
  TensorType type;
  const std::byte* data;
  std::uint64_t rows;
  std::uint64_t columns;

  [[nodiscard]] std::uint64_t tiles() const { return (rows + kTileRows - 1) / kTileRows; }  // a partial last one counts
};

// out[t * out_stride + r] = sum over c of W[r][c] * x[t][c]  (+ bias[r])  (+ what was there, if `accumulate`)
//                           (* silu(what was there), if `gate`, without the other two)
struct MatmulTask {
  Matrix weights;
  const std::byte* activations;  // as `prepare` wrote them for activation_kind(weights.type), all tokens of the batch
  std::uint32_t tokens;
  float* out;
  std::uint64_t out_stride;  // in floats
  const float* bias;         // [rows] or null
  bool accumulate;
  // With it the activations are those that in_tiles() names and the matrix unit multiplies: of the calling thread,
  // quant::matrix_workspace() bytes, 64-byte aligned. Null in tables without one.
  std::byte* workspace = nullptr;
  // For few tokens: with the tiles from begin_tile on, those so many tiles further on are multiplied, reading both runs
  // of weights side by side. 0: the range's own two halves are.
  std::uint64_t alongside = 0;
  bool gate = false;
};

// out[t * out_stride + r] = silu(gate[r] . x[t]) * (up[r] . x[t]): both products in one pass over the activations of
// many tokens; with few, one after the other, which are also to be had singly.
struct GatedTask {
  Matrix gate, up;  // same shape, possibly different types
  const std::byte* gate_activations;
  const std::byte* up_activations;  // the same pointer when the kinds agree
  std::uint32_t tokens;
  float* out;
  std::uint64_t out_stride;
  std::byte* workspace = nullptr;  // as in MatmulTask
  std::uint64_t alongside = 0;     // likewise

  [[nodiscard]] __attribute__((always_inline)) MatmulTask product_of_gate() const {
    return {gate, gate_activations, tokens, out, out_stride, nullptr, false, workspace, alongside, false};
  }
  // When that of the gate is done for all of its tiles.
  [[nodiscard]] __attribute__((always_inline)) MatmulTask product_of_up() const {
    return {up, up_activations, tokens, out, out_stride, nullptr, false, workspace, alongside, true};
  }
};

// Largest head dimension of K and V that the kernels take.
constexpr std::uint32_t kMaxHeadDim = 1024;

// One layer's KV cache. k holds pages of [kv_heads][32 cells][head_dim_k], v likewise (see quant/kv_page.h).
struct KvLayer {
  TensorType k_type, v_type;  // F32, F16 or Q8_0
  std::byte* k;
  std::byte* v;  // null: a value is the first head_dim_v values of its key
  std::uint32_t kv_heads;
  std::uint32_t head_dim_k, head_dim_v;
};

using backend::TokenRun;

// out[t][h] = softmax(scale * q[t][h] . K) V over the visible cells; query head h reads KV head h / (heads / kv_heads).
// What else may be asked for is done to the scores in the order of the members. Only cells that some token sees are
// read, and only pages that hold some. Work is split into units; `attention_units` says how many, `attention` does
// some, then (after all units of the task are done) `attention_finish` merges partial results. The split into units
// depends on the task alone.
struct AttentionTask {
  KvLayer kv;
  std::span<const TokenRun> runs;
  const float* q;  // [tokens][heads * head_dim_k], rope applied
  float* out;      // [tokens][heads * head_dim_v]
  std::uint32_t heads;
  float scale;
  std::byte* workspace;  // quant::attention_workspace(...) bytes, 64-byte aligned; null where that is zero

  float softcap = 0;             // c tanh(score / c); 0: none
  float alibi = 0;               // the exponent of the largest slope, see alibi_slope(); 0: none
  std::uint32_t window = 0;      // the token at position p sees the last so many up to its own; 0: all
  std::uint32_t chunk = 0;       // and none before the last multiple of this up to p; 0: all
  const float* sinks = nullptr;  // [heads]: one more score, of a cell whose value is zero; or null

  // The first cell that the token at a position sees.
  [[nodiscard]] std::uint32_t first_seen(std::uint32_t position) const {
    const std::uint32_t from_window = window != 0 && position + 1 > window ? position + 1 - window : 0;
    const std::uint32_t from_chunk = chunk != 0 ? position / chunk * chunk : 0;
    return from_window > from_chunk ? from_window : from_chunk;
  }
  [[nodiscard]] bool sees_all() const { return window == 0 && chunk == 0; }
};

// A stop request is looked at every few milliseconds, so that a long product ends early (its result is then
// meaningless). The pointer may be null.
using StopFlag = std::atomic<bool>;

struct KernelTable {
  std::string_view name;  // "scalar", "avx2", "avxvnni", "avx512", "avx512vbmi", "amx", "neon"
  bool matrix_unit;       // whether products take activations in tiles, and a workspace
  const VectorKernels* vectors;

  // Prepares tokens [begin, end) of x[tokens][columns] (row stride in floats) into the buffer of activation_bytes().
  void (*prepare)(quant::ActivationKind kind, const float* x, std::uint64_t stride, std::uint64_t columns,
                  std::uint32_t begin, std::uint32_t end, std::uint32_t tokens, std::byte* out);
  // Tokens up to which `matmul` of weights of the format reads their stream directly, 1 to kFew (tile.h): then it may
  // read two runs side by side.
  std::uint32_t (*few_tokens)(TensorType type);
  // Tiles [begin, end) of the task.
  void (*matmul)(const MatmulTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop);
  void (*gated)(const GatedTask& task, std::uint64_t begin_tile, std::uint64_t end_tile, const StopFlag* stop);

  // out[c] = x[c] * weight[c] / sqrt(mean(x^2) + epsilon), one row; of it columns [begin, end), begin a multiple of 16.
  // `out` may be `x` where that is all of them.
  void (*rms_norm)(const float* x, const float* weight, float* out, std::uint64_t columns, std::uint64_t begin,
                   std::uint64_t end, float epsilon);
  // Rotates `heads` consecutive heads of one token in place. cos/sin [rotary / 2]; pairs are (i, i + rotary / 2) if
  // `neox`, else (2 i, 2 i + 1). Values past `rotary` are left alone.
  void (*rope)(float* x, std::uint32_t heads, std::uint32_t head_dim, std::uint32_t rotary, const float* cosines,
               const float* sines, bool neox);
  // target[i] += source[i]
  void (*add)(float* target, const float* source, std::uint64_t count);

  // Writes one token's K and V rows ([kv_heads * head_dim]) into a cell of a page. Heads [begin, end).
  void (*store_kv)(const KvLayer& kv, std::uint32_t page, std::uint32_t cell, const float* k, const float* v,
                   std::uint32_t begin_head, std::uint32_t end_head);
  void (*attention)(const AttentionTask& task, std::uint64_t begin_unit, std::uint64_t end_unit, const StopFlag* stop);
  // Heads [begin, end) of tokens [begin, end).
  void (*attention_finish)(const AttentionTask& task, std::uint32_t begin_token, std::uint32_t end_token,
                           std::uint32_t begin_head, std::uint32_t end_head);
};

// The best table this processor can run, or the one LOADLINE_ISA names (scalar, avx2, avxvnni, avx512, amx, neon).
// Throws Error(BadInput) for an unknown name or one the processor cannot run.
const KernelTable& kernels();
// Every table this processor can run, the scalar one first.
std::span<const KernelTable* const> available_kernels();

std::uint64_t attention_units(const AttentionTask& task);

// Rows16: `rows` whole file-layout rows, consecutive, into tiles [first_tile, ...) of the matrix at `target`.
// `rows` is a multiple of 16 except at the matrix's end. Error(Internal) of others, before anything is written.
void repack_rows(TensorType type, std::uint64_t columns, std::uint64_t matrix_rows, std::uint64_t first_row,
                 std::uint64_t rows, const std::byte* file_rows, std::byte* target);
// The way back: file-layout rows [first_row, first_row + rows) of the matrix at `packed`. `first_row` is a multiple
// of 16.
void restore_rows(TensorType type, std::uint64_t columns, std::uint64_t matrix_rows, std::uint64_t first_row,
                  std::uint64_t rows, const std::byte* packed, std::byte* file_rows);
// One row back as floats (embedding lookup, tests).
void decode_matrix_row(const Matrix& matrix, std::uint64_t row, float* out);

}  // namespace loadline::cpu
