// Turns the recipes of a stage (lower.h) into recorded command lists: every address resolved, and the work cut into
// lists short enough that a stop between two of them comes in time. Decides nothing else.
#pragma once

#include <functional>
#include <optional>
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

// What an attention is specialised on; `rope`: what turns its heads on their way into the cache.
AttentionShape attention_shape(const model::Program& program, const plan::Shape& shape,
                               const model::ops::Attention& attention, std::optional<model::RopeIndex> rope);
// The tokens of an attention's tile, the same for all layers of a pass.
std::uint32_t tile_tokens(const Operations& operations, const model::Program& program, const plan::Shape& shape,
                          std::uint32_t most);

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

// For passes of at most `most` tokens. Throws Error(DeviceFailure), and Error(BadInput) where lowering does.
StageRecording record_stage(Context& context, Pipelines& pipelines, const StageSource& source, const plan::Stage& stage,
                            std::uint32_t most);

}  // namespace loadline::vulkan
