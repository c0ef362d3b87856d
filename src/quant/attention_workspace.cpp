#include "quant/attention_workspace.h"

#include <algorithm>

#include "quant/kv_page.h"

namespace loadline::quant {

CellSplit split_cells(std::uint32_t cells, std::uint32_t batch_tokens) {
  if (batch_tokens > kSplitTokens || cells <= kChunkCells)
    return {1, static_cast<std::uint32_t>(align_up(cells, kKvPageCells))};
  const std::uint32_t least = (cells + kMaxChunks - 1) / kMaxChunks;
  const auto chunk = static_cast<std::uint32_t>(align_up(std::max(least, kChunkCells), kKvPageCells));
  return {(cells + chunk - 1) / chunk, chunk};
}

Bytes attention_workspace(std::uint32_t heads, std::uint32_t head_dim_v, std::uint64_t max_tokens,
                          std::uint64_t max_cells, bool windows) {
  std::uint64_t chunks = std::min<std::uint64_t>((max_cells + kChunkCells - 1) / kChunkCells, kMaxChunks);
  if (chunks <= 1) return Bytes(0);
  if (windows) ++chunks;
  const std::uint64_t tokens = std::min<std::uint64_t>(max_tokens, kSplitTokens);
  return Bytes(tokens * heads * chunks * partial_floats(head_dim_v) * sizeof(float));
}

}  // namespace loadline::quant
