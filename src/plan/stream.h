// The order and the places of what is read from disk for every pass.
#pragma once

#include <vector>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::plan {

// Of every tensor within its slot.
inline constexpr Bytes kSlotAlignment(64);

// A ring in which the turns lie alternately at the bottom and at the top, so that a turn can be read while the one
// before it is computed.
struct StreamRing {
  std::vector<StreamSlot> slots;
  std::vector<Bytes> offsets;  // per slot
  Bytes size;
};

// `streamed` per tensor of the model. Every tensor lies on a multiple of 64 bytes within its slot, in the slot's order.
StreamRing stream_ring(const gguf::Model& model, const model::Program& program, const std::vector<bool>& streamed);

// What the ring takes for turns of these sizes, in order: the most of two that follow each other. Zeros are no turns.
Bytes ring_bytes(const std::vector<Bytes>& slots);

// Bytes of a slot with its tensors aligned.
Bytes slot_bytes(const gguf::Model& model, const StreamSlot& slot);

// Direct reads in flight: eight parts, together an eighth of what is streamed but of no more than 1 MiB, beyond which a
// disk gains nothing. Each is large enough for kUploadRows rows of every streamed matrix with the alignment of a direct
// read around it.
inline constexpr std::uint32_t kStreamParts = 8;
Bytes stream_buffer_bytes(const gguf::Model& model, const std::vector<bool>& streamed);

}  // namespace loadline::plan
