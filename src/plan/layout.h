// Lays out arenas and regions: from "which group where" to "which byte where". It decides nothing about placement and
// knows no budget.
#pragma once

#include <vector>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/needs_table.h"
#include "plan/plan.h"

namespace loadline::plan {

// What is decided before bytes get addresses.
struct Placement {
  std::vector<GroupPlacement> groups;  // per group of the program
  std::vector<bool> streamed;          // per tensor of the model; empty where none is
  bool embedding_on_disk = false;      // rows of an untied token embedding are read from the file one by one
  PromptStream prompt;
};
// The placement that a plan was laid out from.
Placement placement_of(const gguf::Model& model, const Plan& plan);

// Everything of the Plan but the prediction. `overheads[t]`: what a context costs on tier t, in the memory of the tier
// itself and, second, in RAM; counted where the tier's device is used.
struct ContextOverhead {
  Bytes device;
  Bytes host;
  bool measured = false;  // else assumed, as the region's name then says
};
Plan lay_out(const NeedsTable& needs, const std::vector<Tier>& tiers, const std::vector<ContextOverhead>& overheads,
             const Placement& placement);

// The size of an arena that holds `content` bytes, and whether it is backed by huge pages. Of one in a GPU's memory: a
// layer's weights, or its cache; of other groups those of the group.
Bytes arena_size(TierKind tier, Bytes content);
bool uses_huge_pages(TierKind tier, Bytes content);

// Whether the weights of two groups of the program share an arena where a GPU has both, and so do their caches.
bool share_arenas(const model::Group& one, const model::Group& other);

// The buffer the weights are read into while loading, in parts that are read into at once: four for each thread, but no
// more than 32. Each holds kUploadRows rows of every matrix with the alignment of a direct read around it, and at least
// 1 MiB; less where the largest tensor is smaller than that.
Bytes load_buffer_bytes(const gguf::Model& model, std::uint32_t threads);
constexpr std::uint32_t load_buffer_parts(std::uint32_t threads) { return 4 * (threads < 8 ? threads : 8); }

// The maximal runs of groups on one device, as Plan::stages lists them.
std::vector<Stage> stages_of(const model::Program& program, const std::vector<GroupPlacement>& groups,
                             const PromptStream& prompt);

// Which groups the device runs in any pass, per group.
std::vector<Runs> runs_on(DeviceIndex device, const std::vector<GroupPlacement>& groups, const PromptStream& prompt);

}  // namespace loadline::plan
