#include "plan/stream.h"

#include <algorithm>

namespace loadline::plan {
namespace {

constexpr Bytes kPage(4096);

bool overlap(const StreamRing& ring, const std::vector<Bytes>& sizes, std::size_t a, std::size_t b) {
  return ring.offsets[a] < ring.offsets[b] + sizes[b] && ring.offsets[b] < ring.offsets[a] + sizes[a];
}

}  // namespace

Bytes slot_bytes(const gguf::Model& model, const StreamSlot& slot) {
  Bytes total;
  for (const model::TensorIndex index : slot.tensors) {
    total += align_up(model.tensors[static_cast<std::size_t>(index)].size, kSlotAlignment);
  }
  return total;
}

Bytes ring_bytes(const std::vector<Bytes>& slots) {
  Bytes most;
  Bytes before;
  for (const Bytes slot : slots) {
    if (slot.value == 0) continue;
    most = std::max(most, before + slot);
    before = slot;
  }
  return most;
}

StreamRing stream_ring(const gguf::Model& model, const model::Program& program, const std::vector<bool>& streamed) {
  StreamRing ring;
  if (streamed.empty()) return ring;
  std::vector<Bytes> sizes;
  for (std::size_t g = 0; g < program.groups.size(); ++g) {
    StreamSlot slot{static_cast<std::uint32_t>(g), {}, 0, {}};
    for (const model::TensorIndex index : program.groups[g].tensors()) {
      if (!streamed[static_cast<std::size_t>(index)]) continue;
      slot.tensors.push_back(index);
      slot.bytes += model.tensors[static_cast<std::size_t>(index)].size;
    }
    if (slot.tensors.empty()) continue;
    sizes.push_back(slot_bytes(model, slot));
    ring.slots.push_back(std::move(slot));
  }
  const std::size_t count = ring.slots.size();
  ring.size = ring_bytes(sizes);
  for (std::size_t i = 0; i < count; ++i) ring.offsets.push_back(i % 2 == 0 ? Bytes(0) : ring.size - sizes[i]);
  for (std::size_t i = 0; i < count; ++i) {
    ring.slots[i].after = static_cast<std::uint32_t>(i);
    for (std::size_t back = 1; back < count; ++back) {
      const std::size_t other = (i + count - back) % count;
      if (!overlap(ring, sizes, i, other)) continue;
      ring.slots[i].after = static_cast<std::uint32_t>(other);
      break;
    }
  }
  return ring;
}

Bytes stream_buffer_bytes(const gguf::Model& model, const std::vector<bool>& streamed) {
  std::uint64_t rows_together = 0;
  Bytes total;
  for (std::size_t i = 0; i < streamed.size(); ++i) {
    if (!streamed[i]) continue;
    const gguf::TensorInfo& tensor = model.tensors[i];
    rows_together = std::max(rows_together, tensor.size.value / tensor.rows() * std::min(kUploadRows, tensor.rows()));
    total += tensor.size;
  }
  const Bytes share = align_up(total / (8 * kStreamParts), kPage);
  return std::max(std::min(kMiB, share), align_up(Bytes(rows_together), kPage) + kPage) * kStreamParts;
}

}  // namespace loadline::plan
