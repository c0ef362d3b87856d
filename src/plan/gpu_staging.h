// What a GPU needs besides weights, cache and values: the parameters of a pass, and the memory through which the host
// and the device speak. Shared by the planner, which reserves the bytes, and the Vulkan backend, which fills them.
#pragma once

#include <span>

#include "base/bytes.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::plan {

// Passes of up to this many rows are for generation: their attention is split over the cells of the cache.
inline constexpr std::uint32_t kFewRows = 8;

// The parameter table of a pass, words of 32 bits. Offsets from its beginning, which is the `staging` region of the
// device.
struct PassTable {
  Bytes counts;   // tokens, outputs, attention tiles
  Bytes ids;      // [batch] token ids
  Bytes tokens;   // [batch] of: position, first entry of the sequence in `pages`
  Bytes outputs;  // [outputs] token indices
  Bytes tiles;    // [batch + sequences], see attention.comp
  Bytes pages;    // [context / 32] page numbers, sequence after sequence
  Bytes total;
};
PassTable pass_table(const Shape& shape);

// The `host_staging` region: system memory that the device reads and writes. While loading, weights pass through all of
// it.
struct HostStaging {
  Bytes crossing;  // values on their way into the device's stages and out of them: see staged_offset
  Bytes logits;    // [outputs][vocabulary] floats, on the device that makes them
  Bytes table;     // a PassTable
  Bytes angles;    // cosines, then sines, each [batch][rope.dimensions / 2] floats
  Bytes slots;     // as many bytes as the device's `ring` has, on their way there
  Bytes total;
};
// Of a device whose stages and ring the plan has already.
HostStaging host_staging(const model::Program& program, const Plan& plan, DeviceIndex device);

// The values that cross from one device to another before operation `op` of a group: the hidden state before a whole
// group, q, k and v before what works on an attention's cache, and its result after that.
std::span<const model::ValueId> crossing_values(const model::Group& group, std::uint32_t op);
// Where such a value lies among those that cross together, [batch][width] floats.
Bytes staged_offset(const model::Program& program, const Shape& shape, model::ValueId value);

// Into how many parts the attention of a few rows splits the cells; 1 where the context is short.
std::uint32_t attention_splits(const Shape& shape);
// Bytes of their partial results; none for one part.
Bytes gpu_attention_workspace(const model::ModelConfig& config, const Shape& shape);

}  // namespace loadline::plan
