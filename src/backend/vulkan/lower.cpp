#include "backend/vulkan/lower.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "backend/vulkan/lowerer.h"
#include "backend/vulkan/slices.h"
#include "base/error.h"
#include "plan/cache_pages.h"
#include "quant/kv_page.h"

namespace loadline::vulkan {

using model::Op;
using model::OpKind;

Lowerer::Lowerer(const plan::LoweringTask& task, const plan::Part& part)
    : task_(task),
      part_(part),
      group_(task.program.groups[part.group]),
      values_(static_cast<plan::Slot>(task.program.values.size())) {}

Recipe Lowerer::run() {
  const std::span<const Op> ops = plan::ops_of(task_.program, part_);
  operands_.reserve(ops.size());
  for (const Op& op : ops) {
    op_ = static_cast<std::uint32_t>(&op - group_.ops.data());
    after_select_ = op.after_select;
    operands_.emplace_back(op, "a GPU", group_);
    for (const auto* list : {&op.inputs, &op.outputs}) {
      for (const ValueId id : *list) use(id);
    }
    lower(operands_.back());
    ++recipe_.needs.steps;
  }
  finish();
  return std::move(recipe_);
}

void Lowerer::lower(Operands& op) {
  // These may take along what waits; for all others it becomes steps of its own.
  switch (op.kind()) {
    case OpKind::Norm: return norm(op);
    case OpKind::Rope: return rope(op);
    case OpKind::Linear: return linear(op);
    case OpKind::GatedLinear: return gated(op);
    case OpKind::Attention: return attention(op);
    default: break;
  }
  flush();
  switch (op.kind()) {
    case OpKind::Embed: return embed(op);
    case OpKind::SelectOutputs: return select(op);
    case OpKind::Route: return route(op);
    case OpKind::Experts: return experts(op);
    case OpKind::HeadLinear: return head_linear(op);
    case OpKind::Convolution: return convolution(op);
    case OpKind::DeltaNet: return delta_net(op);
    case OpKind::StateSpace: return state_space(op);
    case OpKind::Split: return split(op);
    case OpKind::Activate:
    case OpKind::Add:
    case OpKind::Multiply:
    case OpKind::Scale:
    case OpKind::Clamp:
    case OpKind::SoftCap: return map(op);
    default: op.cannot("it has no step for it");
  }
}

void Lowerer::embed(Operands& op) {
  const auto& embed = op.as<ops::Embed>();
  op.honours("by_position");
  op.honours("add");
  slab(op, embed.table, false);
  step(recipe::Embed{embed, op.output(0)});
}

void Lowerer::select(Operands& op) {
  for (std::size_t i = 0; i < op.inputs(); ++i) step(recipe::Select{op.in_place(i)});
}

// Of a whole row: goes with the product that follows, if that alone reads it, and nobody after the pass. Of heads: with
// the attention.
void Lowerer::norm(Operands& op) {
  const auto& norm = op.as<ops::Norm>();
  for (const std::string_view name : {"bias", "layer", "no weight", "parts", "offset", "weight_per_part"}) {
    op.honours(name);
  }
  const ValueId x = op.input(0);
  const ValueId out = op.output(0);
  if (norm.parts == 0 || norm.offset + std::uint64_t{norm.parts} * norm.part > width(x) || width(x) != width(out)) {
    op.cannot("its parts are not within its row");
  }
  vector(op, norm.weight);
  vector(op, norm.bias);
  const bool plain = norm.kind == ops::NormKind::Rms && norm.weight != model::kNoTensor &&
                     norm.bias == model::kNoTensor && norm.offset == 0 && !norm.weight_per_part &&
                     norm.parts * norm.part == width(x);
  if (plain && x == out) {
    flush_norm();
    if (head_of(x) != nullptr) flush_heads();
    heads_.push_back({x, &norm});
    return;
  }
  flush();
  if (plain && norm.parts == 1 && !read_later(out) && out != task_.program.normed) {
    norm_ = recipe::Norm{norm, x, out};
    norm_after_select_ = after_select_;
    return;
  }
  step(recipe::Norm{norm, x, out});
}

// Whether more than the next operation reads it before it is written again.
bool Lowerer::read_later(ValueId value) const {
  if (task_.program.values[value].carried) return true;
  for (std::size_t i = op_ + 1; i < group_.ops.size(); ++i) {
    const Op& op = group_.ops[i];
    const bool reads = std::ranges::find(op.inputs, value) != op.inputs.end();
    const bool product = op.kind == OpKind::Linear || op.kind == OpKind::GatedLinear;
    if (reads && (i > op_ + 1 || !product)) return true;
    if (!reads && std::ranges::find(op.outputs, value) != op.outputs.end()) return false;
  }
  return false;
}

void Lowerer::rope(Operands& op) {
  const auto& rope = op.as<ops::Rope>();
  op.honours("offset");
  flush_norm();
  const model::RopeConfig& config = task_.program.ropes[rope.table].config;
  for (std::size_t i = 0; i < op.inputs(); ++i) {
    const ValueId x = op.in_place(i);
    if (rope.head_dim == 0 || width(x) % rope.head_dim != 0 || rope.offset + config.dimensions > rope.head_dim) {
      op.cannot("its heads do not divide its input");
    }
    Head* head = head_of(x);
    if (head != nullptr && head->rope != nullptr) {
      flush_heads();
      head = nullptr;
    }
    if (head == nullptr) head = &heads_.emplace_back(Head{x});
    head->rope = &rope;
  }
  // The pass's parameters are brought at the beginning of a stage, whichever group that is.
  own(Own::Rope, angle_bytes(task_.program, task_.shape), recipe_.needs.steps);
  if (!recipe_.needs.buffers.empty() && recipe_.needs.buffers.back().slot >= values_) {
    recipe_.needs.buffers.back().whole_pass = true;
  }
}

// Whether the step that stores the heads can normalise and turn them first.
bool Lowerer::takes(const ops::Attention& attention, const Head& q, const Head& k) const {
  const auto fits = [&](const ops::Norm* norm, std::uint32_t heads) {
    return norm == nullptr || (norm->parts == heads && norm->part == attention.head_dim_k);
  };
  if (!fits(q.norm, attention.heads) || !fits(k.norm, attention.kv_heads)) return false;
  if (q.norm != nullptr && k.norm != nullptr && q.norm->epsilon != k.norm->epsilon) return false;
  if (q.rope == nullptr && k.rope == nullptr) return true;
  if (q.rope == nullptr || q.rope->head_dim != attention.head_dim_k || q.rope->offset != 0) return false;
  if (!attention.stores) return k.rope == nullptr;
  return k.rope != nullptr && k.rope->table == q.rope->table && k.rope->head_dim == q.rope->head_dim &&
         k.rope->offset == 0;
}

void Lowerer::attention(Operands& op) {
  const auto& attributes = op.as<ops::Attention>();
  for (const std::string_view name :
       {"sinks", "softcap", "window", "chunk", "temperature", "alibi", "values_in_keys", "another layer's cache"}) {
    op.honours(name);
  }
  flush_norm();
  recipe::Attention attention{attributes, op.input(0), {}, {}, op.output(0)};
  if (attributes.stores) attention.k = op.input(1);
  if (attributes.stores && !attributes.values_in_keys) attention.v = op.input(2);
  if (attributes.values_in_keys && task_.shape.k_type == quant::TensorType::Q8_0 && attributes.head_dim_k % 32 != 0) {
    op.cannot("its rows are not whole blocks of the cache's format");
  }
  const bool apart = std::ranges::any_of(heads_, [&](const Head& head) {
    return head.value != attention.q && (!attention.k || head.value != *attention.k);
  });
  const Head none{0};
  const Head* q = head_of(attention.q);
  const Head* k = attention.k ? head_of(*attention.k) : nullptr;
  const Head& of_q = q != nullptr ? *q : none;
  const Head& of_k = k != nullptr ? *k : none;
  if (apart || !takes(attributes, of_q, of_k)) {
    flush_heads();
  } else {
    if (of_q.norm != nullptr) attention.q_norm = of_q.norm->weight, attention.epsilon = of_q.norm->epsilon;
    if (of_k.norm != nullptr) attention.k_norm = of_k.norm->weight, attention.epsilon = of_k.norm->epsilon;
    if (of_q.rope != nullptr) attention.rope = of_q.rope->table;
    heads_.clear();
  }
  cache(op, attributes);
  vector(op, attributes.sinks);
  // Until the next step: that puts partial results together.
  own(Own::Attention, attention_workspace(attributes, task_.shape), recipe_.needs.steps + 1);
  step(attention);
}

ops::LinearPart Lowerer::part_of(Operands& op, const ops::LinearPart& part) {
  const gguf::TensorInfo& tensor = info(slab(op, part.tensor, true));
  vector(op, part.bias);
  vector(op, part.scale);
  ops::LinearPart result = part;
  if (part.whole) result.first_row = 0, result.rows = tensor.rows();
  if (result.first_row + result.rows > tensor.rows()) op.cannot(fmt::format("{} has fewer rows", tensor.name));
  return result;
}

// The norm that waits, if this is what it waits for.
recipe::FusedNorm Lowerer::take_norm(ValueId x) {
  flush_heads();
  if (norm_ && (norm_->out != x || norm_after_select_ != after_select_)) flush_norm();
  if (norm_) use(norm_->x);
  return std::exchange(norm_, std::nullopt);
}

void Lowerer::linear(Operands& op) {
  for (const std::string_view name : {"add", "bias", "rows", "scale"}) op.honours(name);
  recipe::Linear linear;
  linear.x = op.input(0);
  linear.norm = take_norm(linear.x);
  linear.accumulate = op.as<ops::Linear>().add;
  for (std::size_t i = 0; i < op.parts().size(); ++i) {
    linear.parts.push_back(part_of(op, op.parts()[i]));
    linear.outs.push_back(op.output(i));
    if (width(linear.outs.back()) != linear.parts.back().rows) op.cannot("its output has another width");
  }
  step(std::move(linear));
}

void Lowerer::gated(Operands& op) {
  const auto& gated = op.as<ops::GatedLinear>();
  for (const std::string_view name : {"bias", "rows", "scale"}) op.honours(name);
  if (gated.activation != model::Activation::Silu) op.honours(model::name_of(gated.activation));
  if (gated.activation == model::Activation::XIelu) op.cannot("its activation lacks something");
  const ValueId x = op.input(0);
  recipe::FusedNorm norm = take_norm(x);
  const ops::LinearPart gate = part_of(op, gated.parts[0]);
  const ops::LinearPart up = part_of(op, gated.parts[1]);
  const ValueId out = op.output(0);
  if (gate.rows != width(out) || up.rows != width(out)) op.cannot("its output has another width");
  step(recipe::Gated{gate, up, std::move(norm), x, out, gated.activation});
}

void Lowerer::flush_norm() {
  if (!norm_) return;
  const bool after = std::exchange(after_select_, norm_after_select_);
  use(norm_->x);
  use(norm_->out);
  step(*std::exchange(norm_, std::nullopt));
  after_select_ = after;
}

void Lowerer::flush_heads() {
  for (const Head& head : std::exchange(heads_, {})) {
    use(head.value);
    if (head.norm != nullptr) step(recipe::Norm{*head.norm, head.value, head.value});
    if (head.rope != nullptr) step(recipe::Rope{*head.rope, head.value});
  }
}

void Lowerer::flush() {
  flush_norm();
  flush_heads();
}

void Lowerer::finish() {
  flush();
  for (const Operands& op : operands_) op.require_all_used();
  std::vector<plan::BufferNeed>& buffers = recipe_.needs.buffers;
  std::ranges::sort(buffers, {}, [](const plan::BufferNeed& need) { return std::pair(need.slot, need.first); });
  std::vector<plan::BufferNeed> joined;
  for (const plan::BufferNeed& need : buffers) {
    const bool again =
        !joined.empty() && joined.back().slot == need.slot && (need.slot < values_ || need.first <= joined.back().last);
    if (!again) {
      joined.push_back(need);
      continue;
    }
    joined.back().last = std::max(joined.back().last, need.last);
    joined.back().size = std::max(joined.back().size, need.size);
  }
  buffers = std::move(joined);
}

// At the operation that is lowered (at the last one, when all are).
void Lowerer::use(ValueId id) {
  const model::Value& value = task_.program.values[id];
  const std::uint64_t rows = value.outputs_only || after_select_ ? task_.shape.outputs : task_.shape.batch;
  const std::uint32_t last = static_cast<std::uint32_t>(operands_.size()) - 1;
  const std::uint32_t at = std::min(recipe_.needs.steps, last);
  recipe_.needs.buffers.push_back({id, Bytes(rows * value.width * sizeof(float)), at, at});
}

void Lowerer::own(Own buffer, Bytes size, std::uint32_t last) {
  if (size.value == 0) return;
  recipe_.needs.buffers.push_back({values_ + static_cast<plan::Slot>(buffer), size, recipe_.needs.steps, last});
}

TensorIndex Lowerer::slab(Operands& op, TensorIndex tensor, bool matrix) {
  op.uses(tensor);
  std::vector<plan::SlabNeed>& slabs = recipe_.needs.slabs;
  if (std::ranges::find(slabs, tensor, &plan::SlabNeed::tensor) == slabs.end()) {
    slabs.push_back({tensor, plan::Layout::File, info(tensor).size, matrix});
  }
  return tensor;
}

TensorIndex Lowerer::vector(Operands& op, TensorIndex tensor) {
  if (tensor == model::kNoTensor) return tensor;
  if (info(tensor).type != quant::TensorType::F32) op.cannot(fmt::format("{} is not F32", info(tensor).name));
  return slab(op, tensor, false);
}

void Lowerer::cache(const Operands& op, const ops::Attention& attributes) {
  const model::Cache& cache = task_.program.caches[attributes.cache];
  if (cache.kind == model::CacheKind::State) op.cannot("its cache keeps no cells");
  if (!attributes.stores) return;  // the layer that stores has it
  const std::uint32_t pages = plan::cache_pages(task_.program, cache, task_.shape);
  const auto bytes = [&](quant::TensorType type, std::uint32_t dim) {
    return quant::kv_page_head_bytes(type, dim) * attributes.kv_heads * pages;
  };
  recipe_.needs.caches.push_back(
      {attributes.cache, pages, bytes(task_.shape.k_type, attributes.head_dim_k),
       attributes.values_in_keys ? Bytes(0) : bytes(task_.shape.v_type, attributes.head_dim_v)});
}

Lowerer::Head* Lowerer::head_of(ValueId value) {
  const auto known = std::ranges::find(heads_, value, &Head::value);
  return known != heads_.end() ? &*known : nullptr;
}

Recipe lower(const plan::LoweringTask& task, const plan::Part& part) { return Lowerer(task, part).run(); }

plan::Needs VulkanLowering::needs(const plan::LoweringTask& task, const plan::Part& part) const {
  return lower(task, part).needs;
}

std::vector<plan::StagingNeed> VulkanLowering::staging(const plan::LoweringTask& task,
                                                       const plan::DeviceTask& device) const {
  return {{"tokens and page tables", pass_table(task.program, task.shape).total, false},
          {"codebooks", codebook_bytes(task.model), false},
          {"weights of prompts", ring_bytes(task, device), false},
          {"crossing and upload", host_staging(task, device).total, true}};
}

bool VulkanLowering::can_pass_through(const model::Group& group) const { return vulkan::can_pass_through(group); }

}  // namespace loadline::vulkan
