// How an attention task is cut into units: blocks of query rows that share a KV head, and for small batches chunks of
// cells whose partial results are merged afterwards. A function of the task alone, so that threads change nothing.
#pragma once

#include <cstdint>

#include "backend/cpu/kernels.h"
#include "quant/attention_workspace.h"

namespace loadline::cpu {

// Query rows (tokens times heads) of a unit, at most: what shares one pass over K and V.
constexpr std::uint32_t kUnitRows = 32;

// Rows [begin_token, end_token) of `run` (counted from its first) times query heads [begin_head, end_head), which all
// read KV head `kv_head`, over cells [begin_cell, end_cell) as far as each token sees them; begin_cell is a page's
// first.
struct AttentionUnit {
  const TokenRun* run;
  std::uint32_t begin_token, end_token;
  std::uint32_t begin_head, end_head;
  std::uint32_t kv_head;
  std::uint32_t begin_cell, end_cell;
  std::uint32_t chunk;
  bool split;  // results are partial and go to attention_partial(), else to task.out
};

// `index` < attention_units(task).
AttentionUnit attention_unit(const AttentionTask& task, std::uint64_t index);

// Chunks that a token's cells are split into; 1 where attention() already wrote the result.
std::uint32_t attention_chunks(const AttentionTask& task, std::uint32_t token);

// What ALiBi takes off a score for each cell of distance (arXiv:2108.12409): of n heads, n rounded down to a power of
// two have 2^(-b (h + 1) / n), and those after them the values half way between.
float alibi_slope(const AttentionTask& task, std::uint32_t head);

// Partial result of one token, head and chunk in the workspace: quant::partial_floats() floats, the unnormalised sums
// first, then at index align_up(head_dim_v, 16) the maximum of the scores and the sum of the weights.
float* attention_partial(const AttentionTask& task, std::uint32_t token, std::uint32_t head, std::uint32_t chunk);

}  // namespace loadline::cpu
