#include "backend/vulkan/lower.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/vulkan/slices.h"
#include "backend/vulkan/staging.h"
#include "base/error.h"
#include "model/support.h"
#include "plan/cache_pages.h"
#include "quant/kv_page.h"

namespace loadline::vulkan {
namespace {

using model::Op;
using model::OpKind;

// What the shaders compute.
const model::Support kKnown[] = {
    {OpKind::Embed, {}}, {OpKind::Norm, {"parts"}}, {OpKind::Linear, {"add", "bias"}}, {OpKind::GatedLinear, {}},
    {OpKind::Rope, {}},  {OpKind::Attention, {}},   {OpKind::SelectOutputs, {}},
};

// A step for each operation.
class Lowerer {
 public:
  Lowerer(const plan::LoweringTask& task, const plan::Part& part)
      : task_(task), part_(part), values_(static_cast<plan::Slot>(task.program.values.size())) {}

  plan::Needs run() {
    model::require_uniform(task_.program, "a GPU");
    for (const Op& op : plan::ops_of(task_.program, part_)) {
      require_known(op);
      note(op);
      ++needs_.steps;
    }
    std::vector<plan::BufferNeed>& buffers = needs_.buffers;
    std::ranges::sort(buffers, {}, [](const plan::BufferNeed& need) { return std::pair(need.slot, need.first); });
    std::vector<plan::BufferNeed> joined;
    for (const plan::BufferNeed& need : buffers) {
      const bool again = !joined.empty() && joined.back().slot == need.slot &&
                         (need.slot < values_ || need.first <= joined.back().last);
      if (!again) {
        joined.push_back(need);
        continue;
      }
      joined.back().last = std::max(joined.back().last, need.last);
      joined.back().size = std::max(joined.back().size, need.size);
    }
    buffers = std::move(joined);
    return std::move(needs_);
  }

 private:
  void note(const Op& op) {
    const std::uint64_t rows = op.after_select ? task_.shape.outputs : task_.shape.batch;
    for (const auto* list : {&op.inputs, &op.outputs}) {
      for (const model::ValueId id : *list) {
        const model::Value& value = task_.program.values[id];
        const std::uint64_t of_value = value.outputs_only ? task_.shape.outputs : rows;
        use(id, Bytes(of_value * value.width * sizeof(float)), needs_.steps);
      }
    }
    for (const model::TensorUse& tensor : op.tensors) slab(tensor.tensor, tensor.role == model::TensorRole::Matrix);
    if (op.kind == OpKind::Attention) {
      // Until the next step: that puts partial results together.
      const auto& attention = op.as<model::ops::Attention>();
      use(own(Own::Attention), attention_workspace(attention, task_.shape), needs_.steps + 1);
      const std::uint32_t pages = plan::full_pages(task_.shape);
      const auto bytes = [&](quant::TensorType type, std::uint32_t dim) {
        return quant::kv_page_head_bytes(type, dim) * attention.kv_heads * pages;
      };
      needs_.caches.push_back({attention.cache, pages, bytes(task_.shape.k_type, attention.head_dim_k),
                               bytes(task_.shape.v_type, attention.head_dim_v)});
    }
    if (op.kind == OpKind::Rope) {
      // The pass's parameters are brought at the beginning of a stage, whichever group that is.
      use(own(Own::Rope),
          Bytes(std::uint64_t{task_.shape.batch} * task_.program.ropes.front().config.dimensions * sizeof(float)),
          needs_.steps);
      needs_.buffers.back().whole_pass = true;
    }
  }

  void require_known(const Op& op) const {
    const auto row = std::ranges::find(kKnown, op.kind, &model::Support::kind);
    const std::string where =
        fmt::format("the {} of {}", model::name_of(op.kind), task_.program.groups[part_.group].name());
    if (row == std::end(kKnown)) throw bad_input(fmt::format("a GPU cannot run {}: it has no step for it", where));
    for (const std::string_view attribute : op.used_attributes()) {
      if (std::ranges::find(row->attributes, attribute) != row->attributes.end()) continue;
      throw bad_input(fmt::format("a GPU cannot run {}: it does not know \"{}\"", where, attribute));
    }
  }

  [[nodiscard]] plan::Slot own(Own buffer) const { return values_ + static_cast<plan::Slot>(buffer); }
  void use(plan::Slot slot, Bytes size, std::uint32_t last) {
    if (size.value > 0) needs_.buffers.push_back({slot, size, needs_.steps, last});
  }
  void slab(model::TensorIndex tensor, bool matrix) {
    if (std::ranges::find(needs_.slabs, tensor, &plan::SlabNeed::tensor) != needs_.slabs.end()) return;
    needs_.slabs.push_back(
        {tensor, plan::Layout::File, task_.model.tensors[static_cast<std::size_t>(tensor)].size, matrix});
  }

  const plan::LoweringTask& task_;
  const plan::Part& part_;
  const plan::Slot values_;
  plan::Needs needs_;
};

}  // namespace

plan::Needs VulkanLowering::needs(const plan::LoweringTask& task, const plan::Part& part) const {
  return Lowerer(task, part).run();
}

std::vector<plan::StagingNeed> VulkanLowering::staging(const plan::LoweringTask& task,
                                                       const plan::DeviceTask& device) const {
  return {{"tokens and page tables", pass_table(task.shape).total, false},
          {"codebooks", codebook_bytes(task.model), false},
          {"weights of prompts", ring_bytes(task, device), false},
          {"crossing and upload", host_staging(task, device).total, true}};
}

// A feed-forward, or the projections of an attention. What comes after the last attention has few rows.
bool VulkanLowering::can_pass_through(const model::Group& group) const {
  if (std::ranges::any_of(group.ops, &Op::after_select)) return false;
  const auto are = [&](std::initializer_list<OpKind> kinds) {
    return std::ranges::all_of(group.ops,
                               [&](const Op& op) { return std::ranges::find(kinds, op.kind) != kinds.end(); });
  };
  switch (group.kind) {
    case model::GroupKind::FeedForward: return are({OpKind::Norm, OpKind::GatedLinear, OpKind::Linear});
    case model::GroupKind::Attention: return are({OpKind::Norm, OpKind::Linear, OpKind::Rope, OpKind::Attention});
    default: return false;
  }
}

}  // namespace loadline::vulkan
