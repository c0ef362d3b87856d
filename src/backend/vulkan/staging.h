// What a GPU needs besides weights, cache and values: the parameters of a pass, and the memory through which the host
// and the device speak. Lowering reserves the bytes, the device fills them.
#pragma once

#include "base/bytes.h"
#include "model/program.h"
#include "plan/lowering.h"
#include "plan/plan.h"

namespace loadline::vulkan {

// Passes of up to this many rows are for generation: their attention is split over the cells of the cache.
inline constexpr std::uint32_t kFewRows = plan::kFewTokens;

// The most values of a head's state that lie together, as shaders hold them (delta_net.comp, state_space.comp).
inline constexpr std::uint32_t kMostStateSize = 1024;

// The regions of DeviceScratch::staging.
enum class Staging : std::uint8_t { Table, Codebooks, Ring, Host };
// Buffers of our own, of DeviceScratch::own.
enum class Own : std::uint8_t {
  Attention,  // partial results of a cache that is read in several parts
  Rope,       // of every rope table, see Angles
  Experts,    // see ExpertRoom
};
inline plan::RegionIndex region_of(const plan::DeviceScratch& scratch, Staging staging) {
  return scratch.staging[static_cast<std::size_t>(staging)];
}
inline plan::RegionIndex region_of(const plan::DeviceScratch& scratch, Own buffer) {
  return scratch.own[static_cast<std::size_t>(buffer)];
}

// What the steps of an Experts operation of at most so many rows share.
struct ExpertRoom {
  Bytes hidden;   // [rows][used][values between an expert's two products] floats
  Bytes results;  // [rows][used][width] floats, where the tokens of an expert go together
  Bytes groups;   // group_experts.comp, likewise
  Bytes total;
  std::uint32_t most_tiles = 0;  // of 64 pairs of a token and an expert, each one expert's
};
ExpertRoom expert_room(const model::ops::Experts& experts, std::uint32_t hidden, std::uint32_t width,
                       std::uint64_t rows);
// Whether in passes of up to so many rows the tokens of an expert go together. Else each token reads its experts'
// weights for itself: with few tokens an expert, most of a tile of 64 would be multiplied in vain.
bool groups_experts(const model::ops::Experts& experts, std::uint64_t rows);

// The parameter table of a pass, words of 32 bits. Offsets from its beginning, which is the region
// Staging::Table.
struct PassTable {
  Bytes counts;        // tokens, outputs, attention tiles, runs
  Bytes ids;           // [batch] token ids
  Bytes tokens;        // [batch] of: position, first entry of the sequence in `pages`
  Bytes outputs;       // [outputs] token indices
  Bytes tiles;         // [batch + sequences], see attention.comp
  Bytes runs;          // [sequences] of: first token, tokens, position, state, state after (run.glsl)
  Bytes pages;         // [context / 32] page numbers, sequence after sequence
  Bytes window_pages;  // the same of caches that keep the last positions only; `pages` where there are none
  Bytes total;
};
PassTable pass_table(const model::Program& program, const plan::Shape& shape);

// Where the cosines of a rope table lie among those of all, then its sines, each float [batch][pairs].
struct Angles {
  Bytes cosines;
  Bytes sines;
  std::uint32_t pairs = 0;
};
Angles angles_of(const model::Program& program, const plan::Shape& shape, model::RopeIndex table);
// Of all tables.
Bytes angle_bytes(const model::Program& program, const plan::Shape& shape);

// The region Staging::Host: system memory that the device reads and writes. While loading, weights pass through all of
// it.
struct HostStaging {
  Bytes crossing;  // values on their way into the device's stages and out of them: see staged_offset
  Bytes carried;   // those besides the hidden state that live across groups, each in its place: see staged_place
  Bytes logits;    // [outputs][vocabulary] floats, on the device that makes them
  Bytes states;    // [outputs][width of Program::normed] floats, likewise
  Bytes table;     // a PassTable
  Bytes angles;    // as in Own::Rope
  Bytes slots;     // as many bytes as Staging::Ring has, on their way there
  Bytes total;
};
HostStaging host_staging(const plan::LoweringTask& task, const plan::DeviceTask& device);
// What the lowering was told of device `device` of a plan.
plan::DeviceTask device_task(const plan::Plan& plan, plan::DeviceIndex device);

// Where such a value lies among those that cross together, [batch][width] floats.
Bytes staged_offset(const model::Program& program, const plan::Shape& shape, model::ValueId value);

// Where any value that crosses lies in the region.
Bytes staged_place(const HostStaging& staging, const model::Program& program, const plan::Shape& shape,
                   model::ValueId value);

// Of the codebooks of IQ formats, which every device has that may have such weights; none where the model has none.
Bytes codebook_bytes(const gguf::Model& model);

// Into how many parts the attention of a few rows splits the cells; 1 where the context is short.
std::uint32_t attention_splits(const plan::Shape& shape);
// Bytes of their partial results; none for one part.
Bytes attention_workspace(const model::ops::Attention& attention, const plan::Shape& shape);

}  // namespace loadline::vulkan
