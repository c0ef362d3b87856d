#include "plan/cache_pages.h"

#include <algorithm>

#include "quant/kv_page.h"

namespace loadline::plan {

using quant::kKvPageCells;

std::uint32_t full_pages(const Shape& shape) { return (shape.context + kKvPageCells - 1) / kKvPageCells; }

std::uint32_t longest_window(const model::Program& program) {
  std::uint32_t longest = 0;
  for (const model::Cache& cache : program.caches) {
    if (cache.kind == model::CacheKind::Window) longest = std::max(longest, cache.window);
  }
  return longest;
}

// A sequence that a pass adds t tokens to has window - 1 + t cells, and c cells in a row are on at most
// (c + 30) / 32 + 1 pages. The sequences' t together are a batch. One page more, for a copy of one that two share.
std::uint32_t window_pages(const model::Program& program, const Shape& shape) {
  const std::uint64_t longest = longest_window(program);
  if (longest == 0) return 0;
  const std::uint64_t cells = shape.sequences * (longest + kKvPageCells - 3) + shape.batch;
  const std::uint64_t pages = cells / kKvPageCells + shape.sequences + 1;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(pages, full_pages(shape)));
}

bool has_window_pages(const model::Program& program, const Shape& shape) {
  const std::uint32_t pages = window_pages(program, shape);
  return pages > 0 && pages < full_pages(shape);
}

std::uint32_t cache_pages(const model::Program& program, const model::Cache& cache, const Shape& shape) {
  return cache.kind == model::CacheKind::Window ? window_pages(program, shape) : full_pages(shape);
}

}  // namespace loadline::plan
