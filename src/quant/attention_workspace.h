// How much scratch the CPU attention needs: the partial results of a long cache that is read in several parts.
// Shared by the planner, which reserves the bytes, and by the kernels, which fill them.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace loadline::quant {

// A batch of at most this many tokens has its cells split into chunks, so that a few tokens over a long cache keep all
// threads busy; a larger batch has enough query blocks for that.
constexpr std::uint32_t kSplitTokens = 8;
// Cells of a chunk, unless that made more than kMaxChunks of them.
constexpr std::uint32_t kChunkCells = 512;
constexpr std::uint32_t kMaxChunks = 32;

// How one token's `cells` visible cells are split: chunks of `chunk_cells`, a multiple of the page.
struct CellSplit {
  std::uint32_t chunks;
  std::uint32_t chunk_cells;
};
CellSplit split_cells(std::uint32_t cells, std::uint32_t batch_tokens);

// Floats of one partial result: the sums [head_dim_v] (rounded up to 16), then maximum and weight, padded to 16.
constexpr std::uint64_t partial_floats(std::uint32_t head_dim_v) { return align_up(head_dim_v, 16) + 16; }

// Bytes of AttentionTask::workspace for every batch of up to `max_tokens` tokens that see up to `max_cells` cells each.
// With `windows` these are not the first cells of their sequence, so that they may begin in the middle of a chunk.
// Alignment 64.
Bytes attention_workspace(std::uint32_t heads, std::uint32_t head_dim_v, std::uint64_t max_tokens,
                          std::uint64_t max_cells, bool windows = false);

}  // namespace loadline::quant
