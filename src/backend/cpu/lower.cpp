#include "backend/cpu/lower.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "backend/cpu/lowerer.h"
#include "base/error.h"
#include "plan/cache_pages.h"
#include "quant/attention_workspace.h"
#include "quant/kv_page.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu {

using model::Op;
using model::OpKind;

// A stage that ends with an attention leaves its product to another device, in passes of many tokens only: those have
// no partial results, which the product's preparation would put together.
static_assert(plan::kFewTokens >= quant::kSplitTokens);

Lowerer::Lowerer(const plan::LoweringTask& task, const plan::Part& part)
    : task_(task),
      part_(part),
      group_(task.program.groups[part.group]),
      values_(static_cast<plan::Slot>(task.program.values.size())) {}

Recipe Lowerer::run() {
  const std::span<const Op> ops = plan::ops_of(task_.program, part_);
  operands_.reserve(ops.size());
  for (const Op& op : ops) {
    operands_.emplace_back(op, "the CPU", group_);
    lower(operands_.back());
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
    case OpKind::HeadLinear: return head_linear(op);
    case OpKind::Route: return route(op);
    case OpKind::Experts: return experts(op);
    case OpKind::Convolution: return convolution(op);
    case OpKind::DeltaNet: return delta_net(op);
    case OpKind::StateSpace: return state_space(op);
    case OpKind::Split: return split(op);
    case OpKind::Activate: return activate(op);
    case OpKind::Add: return add(op);
    case OpKind::Multiply: return multiply(op);
    case OpKind::Scale: return scale(op);
    case OpKind::Clamp: return clamp(op);
    case OpKind::SoftCap: return soft_cap(op);
    default: op.cannot("it has no step for it");
  }
}

void Lowerer::embed(Operands& op) {
  const auto& embed = op.as<ops::Embed>();
  op.honours("by_position");
  op.honours("add");
  const TensorIndex table = op.uses(embed.table);
  const ValueId out = op.output(0);
  slab(table, plan::Layout::File);
  use(out, op.rows(task_.shape));
  end_step(recipe::Embed{table, out, embed.by_position, embed.add});
}

void Lowerer::select(Operands& op) {
  for (std::size_t i = 0; i < op.inputs(); ++i) {
    const ValueId x = op.in_place(i);
    use(x, task_.shape.batch);
    end_step(recipe::Select{x});
  }
}

// Of a whole row: goes with the product that follows, if that reads it. Of heads: with the attention.
void Lowerer::norm(Operands& op) {
  const auto& norm = op.as<ops::Norm>();
  for (const std::string_view name : {"bias", "layer", "no weight", "parts", "offset", "weight_per_part"}) {
    op.honours(name);
  }
  const bool plain = norm.kind == ops::NormKind::Rms && norm.weight != model::kNoTensor &&
                     norm.bias == model::kNoTensor && norm.offset == 0 && !norm.weight_per_part;
  if (plain && op.peek_input(0) == op.peek_output(0) && norm.parts * norm.part == width(op.peek_input(0))) {
    flush_norm();
    flush_merge();
    if (const Head* head = head_of(op.peek_input(0)); head != nullptr) flush_heads();
    const ValueId x = op.in_place(0);
    vector(op, norm.weight);
    heads_.push_back({x, &norm, nullptr, &op});
    return;
  }
  flush();
  if (plain && norm.parts == 1 && norm.part == width(op.peek_input(0))) {
    norm_ = &op;
    return;
  }
  const ValueId x = op.input(0);
  const ValueId out = op.output(0);
  if (norm.parts == 0 || norm.offset + std::uint64_t{norm.parts} * norm.part > width(x) || width(x) != width(out)) {
    op.cannot("its parts are not within its row");
  }
  vector(op, norm.weight);
  vector(op, norm.bias);
  norm_step(op, norm, x, out);
}

void Lowerer::rope(Operands& op) {
  const auto& rope = op.as<ops::Rope>();
  op.honours("offset");
  flush_norm();
  flush_merge();
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
    head->op = &op;
  }
}

// Whether the step that stores the heads can normalise them first.
bool Lowerer::takes_norms(const ops::Attention& attention, const Head& q, const Head& k) const {
  const auto fits = [&](const ops::Norm* norm, std::uint32_t heads) {
    return norm == nullptr || (norm->parts == heads && norm->part == attention.head_dim_k);
  };
  if (!fits(q.norm, attention.heads) || !fits(k.norm, attention.kv_heads)) return false;
  return q.norm == nullptr || k.norm == nullptr || q.norm->epsilon == k.norm->epsilon;
}
// And turn them.
bool Lowerer::takes_rope(const ops::Attention& attention, const Head& q, const Head& k, bool stores) const {
  if (q.rope == nullptr && k.rope == nullptr) return true;
  if (q.rope == nullptr || q.rope->head_dim != attention.head_dim_k) return false;
  if (!stores) return k.rope == nullptr;
  return k.rope != nullptr && k.rope->table == q.rope->table && k.rope->head_dim == q.rope->head_dim &&
         k.rope->offset == q.rope->offset;
}

void Lowerer::attention(Operands& op) {
  const auto& attributes = op.as<ops::Attention>();
  for (const std::string_view name :
       {"sinks", "softcap", "window", "chunk", "temperature", "alibi", "values_in_keys", "another layer's cache"}) {
    op.honours(name);
  }
  flush_norm();
  flush_merge();
  recipe::Attention attention{};
  attention.attributes = attributes;
  attention.q = op.input(0);
  attention.out = op.output(0);
  if (attributes.stores) attention.k = op.input(1);
  if (attributes.stores && !attributes.values_in_keys) attention.v = op.input(2);
  const bool apart = std::ranges::any_of(heads_, [&](const Head& head) {
    return head.value != attention.q && (!attention.k || head.value != *attention.k);
  });
  const Head* q = head_of(attention.q);
  const Head* k = attention.k ? head_of(*attention.k) : nullptr;
  const Head none{0};
  const Head& of_q = q != nullptr ? *q : none;
  const Head& of_k = k != nullptr ? *k : none;
  if (apart || !takes_norms(attributes, of_q, of_k) || !takes_rope(attributes, of_q, of_k, attributes.stores)) {
    flush_heads();
  } else {
    if (of_q.norm != nullptr) attention.q_norm = of_q.norm->weight, attention.epsilon = of_q.norm->epsilon;
    if (of_k.norm != nullptr) attention.k_norm = of_k.norm->weight, attention.epsilon = of_k.norm->epsilon;
    if (of_q.rope != nullptr) attention.rope = of_q.rope->table, attention.rope_offset = of_q.rope->offset;
    heads_.clear();
  }
  cache(op, attributes);
  vector(op, attributes.sinks);
  const std::uint64_t rows = op.rows(task_.shape);
  const std::size_t index = recipe_.attentions.size();
  recipe_.attentions.push_back(attention);

  use(attention.q, rows);
  if (attention.k) use(*attention.k, rows);
  if (attention.v) use(*attention.v, rows);
  end_step(recipe::Heads{index});

  use(attention.q, rows);
  use(attention.out, rows);
  const std::uint32_t window = attributes.window != 0 ? attributes.window : attributes.chunk;
  const std::uint32_t seen =
      window != 0 ? std::min(task_.shape.context, window - 1 + task_.shape.batch) : task_.shape.context;
  merge_bytes_ =
      quant::attention_workspace(attributes.heads, attributes.head_dim_v, task_.shape.batch, seen, window != 0);
  if (part_.large_only) merge_bytes_ = Bytes(0);
  merge_from_ = step();
  own(Own::Attention, merge_bytes_, step());
  merge_ = index;
  end_step(recipe::Attend{index});
}

void Lowerer::linear(Operands& op) {
  for (const std::string_view name : {"add", "bias", "rows", "scale"}) op.honours(name);
  const std::uint64_t rows = op.rows(task_.shape);
  const recipe::Prepare prepared = prepare(op, op.parts());
  const std::uint32_t prepared_at = step() - 1;
  const auto parts = op.parts();
  for (std::size_t first = 0; first < parts.size();) {
    if (parts[first].scale != model::kNoTensor) {
      scaled(op, prepared, prepared_at, first++);
      continue;
    }
    recipe::Linear linear{{}, op.as<ops::Linear>().add, prepared.workspaces, op.after_select()};
    const std::size_t most = std::min(parts.size(), first + kMostProducts);
    for (; first < most && parts[first].scale == model::kNoTensor; ++first) {
      const ValueId out = op.output(first);
      linear.products.push_back(product(op, prepared, parts[first], out));
      use(out, rows);
    }
    activations_from(prepared_at);
    end_step(std::move(linear));
  }
}

// One product of a Linear that is multiplied by a number of the file before its bias is added, and before it is added
// to what is there.
void Lowerer::scaled(Operands& op, const recipe::Prepare& prepared, std::uint32_t prepared_at, std::size_t i) {
  const std::uint64_t rows = op.rows(task_.shape);
  const bool add = op.as<ops::Linear>().add;
  const ValueId out = op.output(i);
  const plan::Slot to = add ? slot_of(Own::Up) : out;
  const std::uint32_t from = step();
  const auto note = [&] {
    use(out, rows);
    if (add) own(Own::Up, Bytes(rows * width(out) * sizeof(float)), from);
  };
  recipe::Linear linear{{product(op, prepared, op.parts()[i], to)}, false, prepared.workspaces, op.after_select()};
  note();
  activations_from(prepared_at);
  end_step(std::move(linear));
  scale_product(op, op.parts()[i], to, width(out), note);
  if (!add) return;
  note();
  end_step(
      recipe::Map{recipe::Map::Kind::AddScaled, out, to, out, width(out), {}, 1, model::kNoTensor, op.after_select()});
}

// A product whose matrix has a scale, which `product` leaves without its bias.
void Lowerer::scale_product(const Operands& op, const ops::LinearPart& part, plan::Slot x, std::uint64_t columns,
                            const std::function<void()>& note) {
  using Kind = recipe::Map::Kind;
  if (part.scale == model::kNoTensor) return;
  note();
  end_step(recipe::Map{Kind::Scale, x, x, x, columns, {}, 1, part.scale, op.after_select()});
  if (part.bias == model::kNoTensor) return;
  note();
  end_step(recipe::Map{
      Kind::AddVector, x, x, x, columns, {}, 1, part.bias, op.after_select(), part.whole ? 0 : part.first_row});
}

void Lowerer::gated(Operands& op) {
  const auto& gated = op.as<ops::GatedLinear>();
  for (const std::string_view name : {"bias", "rows", "scale"}) op.honours(name);
  if (gated.activation != model::Activation::Silu) op.honours(model::name_of(gated.activation));
  const std::uint64_t rows = op.rows(task_.shape);
  const recipe::Prepare prepared = prepare(op, op.parts());
  const std::uint32_t prepared_at = step() - 1;
  const ValueId out = op.output(0);
  const bool plain = std::ranges::all_of(gated.parts, [](const ops::LinearPart& part) {
    return part.bias == model::kNoTensor && part.scale == model::kNoTensor;
  });
  if (gated.activation == model::Activation::Silu && plain) {
    recipe::Gated step_pair{product(op, prepared, gated.parts[0], out), product(op, prepared, gated.parts[1], out),
                            prepared.workspaces, false, op.after_select()};
    for (const bool second : {false, true}) {
      step_pair.second = second;
      use(out, rows);
      activations_from(prepared_at);
      end_step(step_pair);
    }
    return;
  }
  // Otherwise both are multiplied, and then one with the other.
  const Bytes bytes(rows * width(out) * sizeof(float));
  recipe::Linear both{
      {product(op, prepared, gated.parts[0], out), product(op, prepared, gated.parts[1], slot_of(Own::Up))},
      false,
      prepared.workspaces,
      op.after_select()};
  const std::uint32_t from = step();
  const auto note = [&] {
    use(out, rows);
    own(Own::Up, bytes, from);
  };
  note();
  activations_from(prepared_at);
  end_step(std::move(both));
  scale_product(op, gated.parts[0], out, width(out), note);
  scale_product(op, gated.parts[1], slot_of(Own::Up), width(out), note);
  note();
  end_step(recipe::Map{recipe::Map::Kind::Gate, slot_of(Own::Up), out, out, width(out), function_of(gated.activation),
                       1, model::kNoTensor, op.after_select()});
}

// The step that makes a product's input ready, taking along a norm or the end of attention.
recipe::Prepare Lowerer::prepare(Operands& op, std::span<const ops::LinearPart> parts) {
  flush_heads();
  recipe::Prepare prepare;
  prepare.x = op.input(0);
  prepare.after_select = op.after_select();
  const std::uint64_t rows = op.rows(task_.shape);
  if (norm_ != nullptr && (norm_->peek_output(0) != prepare.x || norm_->after_select() != op.after_select())) {
    flush_norm();
  }
  if (merge_ && recipe_.attentions[*merge_].out != prepare.x) flush_merge();
  if (norm_ != nullptr) {
    Operands& norm = *std::exchange(norm_, nullptr);
    prepare.normed = norm.output(0);
    prepare.x = norm.input(0);
    prepare.norm = vector(norm, norm.as<ops::Norm>().weight);
    prepare.epsilon = norm.as<ops::Norm>().epsilon;
    use(prepare.normed, rows);
  } else if (merge_) {
    prepare.merge = merge_;
    own(Own::Attention, merge_bytes_, merge_from_);
    merge_.reset();
  }
  use(prepare.x, rows);
  lay_out_activations(parts, rows, prepare);
  own(Own::Activations, activations_, step());
  end_step(prepare);
  return prepare;
}

// One buffer for each kind of activations that the operation's matrices multiply with, one after the other.
void Lowerer::lay_out_activations(std::span<const ops::LinearPart> parts, std::uint64_t rows,
                                  recipe::Prepare& prepare) {
  const bool tiles = task_.shape.matrix_unit && rows >= quant::kMatrixTokens;
  activations_ = Bytes(0);
  for (const ops::LinearPart& part : parts) {
    const gguf::TensorInfo& tensor = info(part.tensor);
    const quant::ActivationKind kind = quant::activation_kind(tensor.type);
    std::optional<Bytes>& target = prepare.targets[static_cast<std::size_t>(kind)];
    if (target) continue;
    target = activations_;
    Bytes bytes = quant::activation_bytes(kind, tensor.columns(), rows);
    if (tiles) bytes = std::max(bytes, quant::activation_bytes(quant::in_tiles(kind), tensor.columns(), rows));
    activations_ += align_up(bytes, Bytes(64));
  }
  if (!tiles) return;
  prepare.workspaces = activations_;
  activations_ += quant::matrix_workspace(rows) * task_.shape.threads;
}

recipe::Product Lowerer::product(Operands& op, const recipe::Prepare& prepared, const ops::LinearPart& part,
                                 plan::Slot out) {
  const gguf::TensorInfo& tensor = info(op.uses(part.tensor));
  const std::uint64_t rows = part.whole ? tensor.rows() : part.rows;
  if (tensor.columns() != width(op.peek_input(0)) || (out < values_ && rows != width(out)) ||
      part.first_row + rows > tensor.rows()) {
    op.cannot(fmt::format("{} does not have the shape of its input and output", tensor.name));
  }
  if (!part.whole) require_tiles(op, tensor, part.first_row, rows, 0);
  slab(part.tensor, kRows16);
  vector(op, part.bias);
  vector(op, part.scale);
  return {part.tensor,
          part.scale == model::kNoTensor ? part.bias : model::kNoTensor,
          out,
          *prepared.targets[static_cast<std::size_t>(quant::activation_kind(tensor.type))],
          part.whole ? 0 : part.first_row,
          rows};
}

// Some rows of a matrix are a matrix where they begin and end with whole tiles (or end with the tensor).
void Lowerer::require_tiles(const Operands& op, const gguf::TensorInfo& tensor, std::uint64_t first, std::uint64_t rows,
                            std::uint64_t distance) const {
  const bool ends = distance == 0 && first + rows == tensor.rows();
  if (first % kTileRowsOfMatrix == 0 && distance % kTileRowsOfMatrix == 0 && (ends || rows % kTileRowsOfMatrix == 0)) {
    return;
  }
  op.cannot(fmt::format("rows of {} are not used by multiples of {}", tensor.name, kTileRowsOfMatrix));
}

void Lowerer::flush() {
  flush_norm();
  flush_heads();
  flush_merge();
}

void Lowerer::flush_norm() {
  if (norm_ == nullptr) return;
  Operands& op = *std::exchange(norm_, nullptr);
  const auto& norm = op.as<ops::Norm>();
  const ValueId x = op.input(0);
  const ValueId out = op.output(0);
  vector(op, norm.weight);
  norm_step(op, norm, x, out);
}

void Lowerer::flush_heads() {
  for (const Head& head : std::exchange(heads_, {})) {
    if (head.norm != nullptr) norm_step(*head.op, *head.norm, head.value, head.value);
    if (head.rope != nullptr) rope_step(*head.rope, head.value);
  }
}

void Lowerer::flush_merge() {
  if (!merge_) return;
  recipe::Prepare prepare;
  prepare.merge = std::exchange(merge_, std::nullopt);
  prepare.x = recipe_.attentions[*prepare.merge].out;
  if (merge_bytes_.value == 0) return;  // nothing is ever split
  use(prepare.x, task_.shape.batch);
  own(Own::Attention, merge_bytes_, merge_from_);
  end_step(prepare);
}

void Lowerer::norm_step(const Operands& op, const ops::Norm& norm, ValueId x, ValueId out) {
  use(x, op.rows(task_.shape));
  use(out, op.rows(task_.shape));
  end_step(recipe::Norm{norm, x, out, op.after_select()});
}

void Lowerer::rope_step(const ops::Rope& rope, ValueId x) {
  use(x, task_.shape.batch);
  end_step(recipe::Rope{rope, x});
}

void Lowerer::finish() {
  flush_norm();
  flush_heads();
  // The other device's product reads what is complete: in its passes nothing is split.
  if (!part_.large_only) flush_merge();
  for (const Operands& op : operands_) op.require_all_used();
  recipe_.needs.steps = step();
  // Two values of one step may not have been noted in the order of the slots; where a value is used again, from its
  // first use to its last.
  std::vector<plan::BufferNeed>& buffers = recipe_.needs.buffers;
  std::ranges::sort(buffers, {}, [](const plan::BufferNeed& need) { return std::pair(need.slot, need.first); });
  std::vector<plan::BufferNeed> joined;
  for (const plan::BufferNeed& need : buffers) {
    const bool value = need.slot < values_;
    if (!joined.empty() && joined.back().slot == need.slot && (value || need.first <= joined.back().last)) {
      joined.back().last = std::max(joined.back().last, need.last);
      joined.back().size = std::max(joined.back().size, need.size);
    } else {
      joined.push_back(need);
    }
  }
  buffers = std::move(joined);
}

// The next step uses the value.
void Lowerer::use(ValueId value, std::uint64_t rows) {
  const model::Value& v = task_.program.values[value];
  if (v.outputs_only) rows = task_.shape.outputs;
  recipe_.needs.buffers.push_back({value, Bytes(rows * v.width * sizeof(float)), step(), step()});
}

// From a step on until the next, that included.
void Lowerer::own(Own buffer, Bytes size, std::uint32_t from) {
  if (size.value == 0) return;
  recipe_.needs.buffers.push_back({slot_of(buffer), size, from, step()});
}

void Lowerer::slab(TensorIndex tensor, plan::Layout layout) {
  std::vector<plan::SlabNeed>& slabs = recipe_.needs.slabs;
  const auto known = std::ranges::find(slabs, tensor, &plan::SlabNeed::tensor);
  if (known == slabs.end()) {
    slabs.push_back({tensor, layout, info(tensor).size, layout == kRows16});
  } else if (known->layout != layout) {
    throw bad_input(fmt::format("the CPU cannot read {} both as a matrix and row by row", info(tensor).name));
  }
}

TensorIndex Lowerer::vector(Operands& op, TensorIndex tensor) {
  if (tensor == model::kNoTensor) return tensor;
  if (info(tensor).type != quant::TensorType::F32) op.cannot(fmt::format("{} is not F32", info(tensor).name));
  slab(op.uses(tensor), plan::Layout::File);
  return tensor;
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

}  // namespace loadline::cpu
