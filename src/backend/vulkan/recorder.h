// Turns the groups of a stage into recorded command lists: every address resolved, norms and head steps merged into
// their neighbours, and the work cut into lists short enough that a stop between two of them comes in time.
#pragma once

#include <functional>
#include <vector>

#include "backend/device.h"
#include "backend/vulkan/commands.h"
#include "backend/vulkan/memory.h"
#include "backend/vulkan/operations.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::vulkan {

using PlaceOf = std::function<Place(plan::RegionIndex)>;

// What a stage is recorded from. All must outlive the call.
struct StageSource {
  const gguf::Model& model;
  const model::Program& program;
  const plan::Plan& plan;
  plan::DeviceIndex device;
  const PlaceOf& place;
  Address codebooks = 0;  // 0: none
};

// Throws Error(BadInput) that names what of the program a GPU cannot compute, if there is anything.
void require_supported(const model::Program& program);

AttentionShape attention_shape(const model::Program& program, const plan::Shape& shape);

// A stage, recorded. The lists are submitted in this order. One with a slice copies that slice of weights from its slot
// of the host staging region into its slot of the ring, at the same time as the list before it computes; the host fills
// the slot first.
struct StageRecording {
  static constexpr std::size_t kNoSlice = SIZE_MAX;
  struct Entry {
    CommandList list;
    std::size_t slice = kNoSlice;
  };
  std::vector<Entry> lists;
  std::vector<std::vector<backend::WeightSource::Rows>> slices;  // what fills each; slice i uses slot i % kRingSlots
};

// For passes of at most `most` tokens. Throws Error(DeviceFailure).
StageRecording record_stage(Context& context, Pipelines& pipelines, const StageSource& source, const plan::Stage& stage,
                            std::uint32_t most);

}  // namespace loadline::vulkan
