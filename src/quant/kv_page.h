// The unit the KV cache is handed out in. Shared by the planner and the backends.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "quant/format.h"

namespace loadline::quant {

// Cells (token positions) per page. Page p of a layer's K holds, for every KV head in turn, 32 cells of head_dim
// values; how the values lie inside one head's part of a page is the backend's affair, its bytes are not. V likewise.
constexpr std::uint32_t kKvPageCells = 32;

// Bytes of one head's part of a page. head_dim must be a multiple of the format's block (F32, F16 or Q8_0).
inline Bytes kv_page_head_bytes(TensorType type, std::uint32_t head_dim) {
  return size_of(type, head_dim) * kKvPageCells;
}

}  // namespace loadline::quant
