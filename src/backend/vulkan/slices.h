// Prompts with weights in RAM: how the weights of a group that is placed on the CPU pass through a ring in a GPU's
// memory in large passes. Lowering reserves the bytes, and the recorder cuts its work the same way.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/lowering.h"

namespace loadline::vulkan {

// One slot is filled while the other is multiplied with.
inline constexpr std::uint64_t kRingSlots = 2;

// What is in a slot at a time: some rows of an operation's matrices, and the vectors that go with them.
struct WeightSlice {
  struct Part {
    model::TensorIndex tensor;
    std::uint64_t first_row;  // a multiple of 64, as large products are tiled (and so of Rows16's 16)
    std::uint64_t rows;
    Bytes offset;  // in the slot, a multiple of 256; the bytes there are the file's
  };
  std::uint32_t op = 0;  // the operation of the group that multiplies with it
  std::uint64_t first_row = 0;
  std::uint64_t rows = 0;
  std::vector<Part> parts;
  Bytes bytes;
};

// Whether large passes may run this group on a GPU while its weights stay in RAM: a feed-forward, or the projections of
// an attention. What comes after the last attention has few rows.
bool can_pass_through(const model::Group& group);

// The slices of such a group, in the order of use, of `size` bytes where 64 rows are not more. Matrices of one
// operation that have as many rows are cut together (a gate and what it gates), others one after the other (q, k and
// v).
std::vector<WeightSlice> weight_slices(const gguf::Model& model, const model::Group& group, Bytes size);

// The size of a slot: the largest slice of any of the groups, to a multiple of 256.
Bytes slot_bytes(const gguf::Model& model, const model::Program& program, const plan::PromptStream& prompt);
// Of all slots; none where no prompts pass through the device.
Bytes ring_bytes(const plan::LoweringTask& task, const plan::DeviceTask& device);

}  // namespace loadline::vulkan
