// Lays out arenas and regions: from "which group where" to "which byte where". It decides nothing about placement and
// knows no budget.
#pragma once

#include <vector>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"
#include "plan/scratch.h"

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
Plan lay_out(const gguf::Model& model, const model::Program& program, const std::vector<Tier>& tiers,
             const std::vector<ContextOverhead>& overheads, const Shape& shape, const Placement& placement);

// The size of an arena that holds `content` bytes, and whether it is backed by huge pages.
Bytes arena_size(TierKind tier, Bytes content);
bool uses_huge_pages(TierKind tier, Bytes content);

// Bytes of one layer's K (or V) regions together: whole pages of every KV head.
Bytes kv_region_bytes(quant::TensorType type, std::uint32_t kv_heads, std::uint32_t head_dim, std::uint32_t context);

// Which tensors are matrices of a product (and are laid out for the kernels), per tensor of the model.
std::vector<bool> multiplied_tensors(const gguf::Model& model, const model::Program& program);

// The maximal runs of groups on one device, as Plan::stages lists them.
std::vector<Stage> stages_of(const model::Program& program, const std::vector<GroupPlacement>& groups,
                             const PromptStream& prompt);

// Which groups the device runs in any pass, per group.
std::vector<Runs> runs_on(DeviceIndex device, const std::vector<GroupPlacement>& groups, const PromptStream& prompt);

}  // namespace loadline::plan
