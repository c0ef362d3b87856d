#include "backend/cpu/attention_units.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

namespace loadline::cpu {
namespace {

std::uint32_t batch_tokens(const AttentionTask& task) {
  std::uint32_t tokens = 0;
  for (const TokenRun& run : task.runs) tokens += run.count;
  return tokens;
}

// How the rows of one run are cut: `parts` head groups per KV head, `blocks` groups of tokens.
struct RunCut {
  std::uint32_t part_heads, parts;
  std::uint32_t block_tokens, blocks;
  quant::CellSplit split;
  std::uint32_t first_chunk;  // of those from cell 0 on: those before it hold nothing that is seen
};
RunCut cut(const AttentionTask& task, const TokenRun& run, std::uint32_t tokens) {
  const std::uint32_t group = task.heads / task.kv.kv_heads;
  RunCut result{};
  result.parts = (group + kUnitRows - 1) / kUnitRows;
  result.part_heads = (group + result.parts - 1) / result.parts;
  result.block_tokens = std::max(1U, kUnitRows / result.part_heads);
  result.blocks = (run.count + result.block_tokens - 1) / result.block_tokens;
  const std::uint32_t end = run.first_position + run.count;
  if (task.sees_all()) {
    result.split = quant::split_cells(end, tokens);
    return result;
  }
  // Where chunks are cut does not depend on where a window begins, so that a token's sums are added up in the same
  // order in any batch.
  const std::uint32_t first = task.first_seen(run.first_position);
  result.split = quant::split_cells(end - first, tokens);
  if (result.split.chunks == 1) {
    result.split.chunk_cells = end;
    return result;
  }
  result.first_chunk = first / result.split.chunk_cells;
  result.split.chunks = (end - 1) / result.split.chunk_cells - result.first_chunk + 1;
  return result;
}

std::uint64_t units_of(const AttentionTask& task, const RunCut& run) {
  return std::uint64_t{run.blocks} * run.split.chunks * task.kv.kv_heads * run.parts;
}

}  // namespace

std::uint64_t attention_units(const AttentionTask& task) {
  const std::uint32_t tokens = batch_tokens(task);
  std::uint64_t units = 0;
  for (const TokenRun& run : task.runs) units += units_of(task, cut(task, run, tokens));
  return units;
}

AttentionUnit attention_unit(const AttentionTask& task, std::uint64_t index) {
  const std::uint32_t tokens = batch_tokens(task);
  const TokenRun* run = task.runs.data();
  RunCut shape = cut(task, *run, tokens);
  while (index >= units_of(task, shape)) {
    index -= units_of(task, shape);
    assert(run + 1 < task.runs.data() + task.runs.size());
    shape = cut(task, *++run, tokens);
  }
  const auto part = static_cast<std::uint32_t>(index % shape.parts);
  index /= shape.parts;
  const auto kv_head = static_cast<std::uint32_t>(index % task.kv.kv_heads);
  index /= task.kv.kv_heads;
  const auto chunk = static_cast<std::uint32_t>(index % shape.split.chunks);
  index /= shape.split.chunks;
  // The last tokens see the most cells: they come first, so that the threads finish together.
  const std::uint32_t block = shape.blocks - 1 - static_cast<std::uint32_t>(index);

  const std::uint32_t group = task.heads / task.kv.kv_heads;
  AttentionUnit unit{};
  unit.run = run;
  unit.begin_token = block * shape.block_tokens;
  unit.end_token = std::min(run->count, unit.begin_token + shape.block_tokens);
  unit.kv_head = kv_head;
  unit.begin_head = kv_head * group + part * shape.part_heads;
  unit.end_head = std::min((kv_head + 1) * group, unit.begin_head + shape.part_heads);
  const std::uint32_t first_cell = (shape.first_chunk + chunk) * shape.split.chunk_cells;
  const std::uint32_t seen = task.first_seen(run->first_position + unit.begin_token);
  unit.begin_cell = std::max(first_cell, seen / quant::kKvPageCells * quant::kKvPageCells);
  unit.end_cell = std::min(first_cell + shape.split.chunk_cells, run->first_position + unit.end_token);
  unit.chunk = chunk;
  unit.split = shape.split.chunks > 1;
  return unit;
}

std::uint32_t attention_chunks(const AttentionTask& task, std::uint32_t token) {
  const std::uint32_t tokens = batch_tokens(task);
  for (const TokenRun& run : task.runs) {
    if (token - run.first_token < run.count) return cut(task, run, tokens).split.chunks;
  }
  return 1;
}

float alibi_slope(const AttentionTask& task, std::uint32_t head) {
  const auto whole = static_cast<float>(std::bit_floor(task.heads));
  const auto h = static_cast<float>(head);
  return h < whole ? std::exp2(-task.alibi * (h + 1) / whole)
                   : std::exp2(-task.alibi / 2 * (2 * (h - whole) + 1) / whole);
}

float* attention_partial(const AttentionTask& task, std::uint32_t token, std::uint32_t head, std::uint32_t chunk) {
  const std::uint64_t index = (std::uint64_t{chunk} * batch_tokens(task) + token) * task.heads + head;
  return reinterpret_cast<float*>(task.workspace) + index * quant::partial_floats(task.kv.head_dim_v);
}

}  // namespace loadline::cpu
