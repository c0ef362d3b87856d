#include "backend/cpu/lower.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/operands.h"
#include "base/error.h"
#include "quant/attention_workspace.h"
#include "quant/kv_page.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu {
namespace {

using backend::Operands;
using model::Op;
using model::OpKind;
using model::TensorIndex;
using model::ValueId;
namespace ops = model::ops;

// A stage that ends with an attention leaves its product to another device, in passes of many tokens only: those have
// no partial results, which the product's preparation would put together.
static_assert(plan::kFewTokens >= quant::kSplitTokens);

class Lowerer {
 public:
  Lowerer(const plan::LoweringTask& task, const plan::Part& part)
      : task_(task),
        part_(part),
        group_(task.program.groups[part.group]),
        values_(static_cast<plan::Slot>(task.program.values.size())) {}

  Recipe run() {
    const std::span<const Op> ops = plan::ops_of(task_.program, part_);
    operands_.reserve(ops.size());
    for (const Op& op : ops) {
      operands_.emplace_back(op, "the CPU", group_);
      lower(operands_.back());
    }
    finish();
    return std::move(recipe_);
  }

 private:
  void lower(Operands& op) {
    switch (op.kind()) {
      case OpKind::Embed: return embed(op);
      case OpKind::Norm: return norm(op);
      case OpKind::Linear: return linear(op);
      case OpKind::GatedLinear: return gated(op);
      case OpKind::Rope: return rope(op);
      case OpKind::Attention: return attention(op);
      case OpKind::SelectOutputs: return select(op);
      default: op.cannot("it has no step for it");
    }
  }

  // --- one function for each operation

  void embed(Operands& op) {
    const TensorIndex table = op.uses(op.as<ops::Embed>().table);
    const ValueId out = op.output(0);
    slab(table, plan::Layout::File);
    use(out, op.rows(task_.shape));
    end_step(recipe::Embed{table, out});
  }

  void select(Operands& op) {
    for (std::size_t i = 0; i < op.inputs(); ++i) {
      const ValueId x = op.in_place(i);
      ready(op, x);
      use(x, task_.shape.batch);
      end_step(recipe::Select{x});
    }
  }

  // Goes with the product that follows, or of heads with the attention.
  void norm(Operands& op) {
    const auto& norm = op.as<ops::Norm>();
    if (op.peek_input(0) == op.peek_output(0)) return head_norm(op, norm);
    if (norm.part != width(op.peek_input(0))) op.cannot("it is of parts, and not in place");
    if (norm_ != nullptr) norm_->cannot("another norm follows before a product has read its result");
    ready(op, op.peek_input(0));
    norm_ = &op;
  }
  void head_norm(Operands& op, const ops::Norm& norm) {
    op.honours("parts");
    const ValueId x = op.in_place(0);
    Head& head = head_of(x);
    if (head.rope) op.cannot("it comes after rope");
    if (head.norm != nullptr) op.cannot("it is the second of the same heads");
    ready(op, x);
    head.norm = &norm;
    head.op = &op;
    slab(op.uses(norm.weight), plan::Layout::File);
  }
  void rope(Operands& op) {
    const auto& rope = op.as<ops::Rope>();
    // A pass has one table of angles.
    if (rope.table != 0) op.cannot("its table of angles is not the first");
    if (task_.program.ropes[rope.table].long_factors != model::kNoTensor) {
      op.cannot("its table of angles has two tensors of factors");
    }
    for (std::size_t i = 0; i < op.inputs(); ++i) {
      const ValueId x = op.in_place(i);
      Head& head = head_of(x);
      if (head.rope) op.cannot("it is the second of the same heads");
      ready(op, x);
      head.rope = &rope;
      head.op = &op;
    }
  }

  void attention(Operands& op) {
    recipe::Attention attention{op.as<ops::Attention>(), op.input(0), op.input(1), op.input(2), op.output(0)};
    const ops::Attention& attributes = attention.attributes;
    const Head q = take_head(attention.q);
    const Head k = take_head(attention.k);
    if (!heads_.empty()) heads_.front().op->cannot("no attention reads the heads");
    for (const ValueId value : {attention.q, attention.k, attention.v}) ready(op, value);
    take_rope(op, q, k, attention);
    take_norms(op, q, k, attention);
    cache(op, attributes);
    const std::uint64_t rows = op.rows(task_.shape);
    const std::size_t index = recipe_.attentions.size();
    recipe_.attentions.push_back(attention);

    for (const ValueId value : {attention.q, attention.k, attention.v}) use(value, rows);
    end_step(recipe::Heads{index});

    use(attention.q, rows);
    use(attention.out, rows);
    merge_bytes_ =
        quant::attention_workspace(attributes.heads, attributes.head_dim_v, task_.shape.batch, task_.shape.context);
    if (part_.large_only) merge_bytes_ = Bytes(0);
    merge_from_ = step();
    own(Own::Attention, merge_bytes_, step());
    if (merge_) op.cannot("the attention before it is not read by a product");
    merge_ = index;
    merging_ = &op;
    end_step(recipe::Attend{index});
  }

  void linear(Operands& op) {
    op.honours("add");
    op.honours("bias");
    const std::uint64_t rows = op.rows(task_.shape);
    const recipe::Prepare prepared = prepare(op);
    const std::uint32_t prepared_at = step() - 1;
    const std::size_t count = op.parts().size();
    for (std::size_t first = 0; first < count; first += kMostProducts) {
      recipe::Linear linear{{}, op.as<ops::Linear>().add, prepared.workspaces, op.after_select()};
      for (std::size_t i = first; i < std::min(count, first + kMostProducts); ++i) {
        linear.products.push_back(product(op, prepared, i, op.output(i)));
        use(linear.products.back().out, rows);
      }
      activations_from(prepared_at);
      end_step(std::move(linear));
    }
  }

  void gated(Operands& op) {
    const std::uint64_t rows = op.rows(task_.shape);
    const recipe::Prepare prepared = prepare(op);
    const std::uint32_t prepared_at = step() - 1;
    const ValueId out = op.output(0);
    recipe::Gated gated{product(op, prepared, 0, out), product(op, prepared, 1, out), prepared.workspaces, false,
                        op.after_select()};
    for (const bool second : {false, true}) {
      gated.second = second;
      use(out, rows);
      activations_from(prepared_at);
      end_step(gated);
    }
  }

  // --- what they share

  // The step that makes a product's input ready, taking along a norm or the end of attention.
  recipe::Prepare prepare(Operands& op) {
    recipe::Prepare prepare;
    prepare.x = op.input(0);
    prepare.after_select = op.after_select();
    const std::uint64_t rows = op.rows(task_.shape);
    if (norm_ != nullptr) {
      Operands& norm = *std::exchange(norm_, nullptr);
      prepare.normed = norm.output(0);
      if (prepare.normed != prepare.x) norm.cannot("the product that follows reads something else");
      if (norm.after_select() != op.after_select()) norm.cannot("the product that follows has other rows");
      prepare.x = norm.input(0);
      prepare.norm = norm.uses(norm.as<ops::Norm>().weight);
      prepare.epsilon = norm.as<ops::Norm>().epsilon;
      slab(prepare.norm, plan::Layout::File);
      ready(norm, prepare.x);
      use(prepare.normed, rows);
    } else if (merge_ && recipe_.attentions[*merge_].out == prepare.x) {
      prepare.merge = merge_;
      own(Own::Attention, merge_bytes_, merge_from_);
      merge_.reset();
    } else {
      ready(op, prepare.x);
    }
    use(prepare.x, rows);
    lay_out_activations(op, rows, prepare);
    own(Own::Activations, activations_, step());
    end_step(prepare);
    return prepare;
  }

  // One buffer for each kind of activations that the operation's matrices multiply with, one after the other.
  void lay_out_activations(const Operands& op, std::uint64_t rows, recipe::Prepare& prepare) {
    const bool tiles = task_.shape.matrix_unit && rows >= quant::kMatrixTokens;
    activations_ = Bytes(0);
    for (const ops::LinearPart& part : op.parts()) {
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

  recipe::Product product(Operands& op, const recipe::Prepare& prepared, std::size_t i, ValueId out) {
    const ops::LinearPart& part = op.parts()[i];
    const gguf::TensorInfo& tensor = info(op.uses(part.tensor));
    if (tensor.columns() != width(op.peek_input(0)) || tensor.rows() != width(out)) {
      op.cannot(fmt::format("{} does not have the shape of its input and output", tensor.name));
    }
    slab(part.tensor, kRows16);
    if (part.bias != model::kNoTensor) slab(op.uses(part.bias), plan::Layout::File);
    return {part.tensor, part.bias, out,
            *prepared.targets[static_cast<std::size_t>(quant::activation_kind(tensor.type))]};
  }

  struct Head;
  void take_rope(const Operands& op, const Head& q, const Head& k, recipe::Attention& attention) const {
    if ((q.rope == nullptr) != (k.rope == nullptr))
      op.cannot("one of q and k passes through rope, and the other does not");
    if (q.rope == nullptr) return;
    attention.rope = q.rope->table;
    for (const Head* head : {&q, &k}) {
      if (head->rope->head_dim != attention.attributes.head_dim_k) head->op->cannot("its heads have another width");
    }
  }
  void take_norms(const Operands& op, const Head& q, const Head& k, recipe::Attention& attention) const {
    const std::uint32_t counts[] = {attention.attributes.heads, attention.attributes.kv_heads};
    const Head* const heads[] = {&q, &k};
    TensorIndex* const weights[] = {&attention.q_norm, &attention.k_norm};
    for (int i = 0; i < 2; ++i) {
      const ops::Norm* norm = heads[i]->norm;
      if (norm == nullptr) continue;
      if (norm->parts != counts[i] || norm->part != attention.attributes.head_dim_k) {
        op.cannot(fmt::format("the norm of {} is not of its heads", i == 0 ? "q" : "k"));
      }
      if (norm->weight == model::kNoTensor) op.cannot("the norm of its heads has no weight");
      *weights[i] = norm->weight;
      attention.epsilon = norm->epsilon;
    }
    if (q.norm != nullptr && k.norm != nullptr && q.norm->epsilon != k.norm->epsilon) {
      op.cannot("the norms of q and k differ in epsilon");
    }
  }

  // Nothing that waits for a later step would still have to be done to it.
  void ready(const Operands& op, ValueId value) const {
    if (norm_ != nullptr && norm_ != &op && norm_->peek_output(0) == value) {
      norm_->cannot("what reads its result is no product");
    }
    if (merge_ && recipe_.attentions[*merge_].out == value) merging_->cannot("what reads its result is no product");
    for (const Head& head : heads_) {
      if (head.value == value && head.op != nullptr && head.op != &op && !of_heads(op)) {
        head.op->cannot("what reads its result is no attention");
      }
    }
  }

  // What may follow on heads before their attention.
  static bool of_heads(const Operands& op) {
    return op.kind() == OpKind::Rope || (op.kind() == OpKind::Norm && op.peek_input(0) == op.peek_output(0));
  }

  void finish() {
    if (norm_ != nullptr) norm_->cannot("no product follows");
    if (!heads_.empty()) heads_.front().op->cannot("no attention follows");
    if (merge_ && !part_.large_only) merging_->cannot("no product follows");
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

  [[nodiscard]] std::uint32_t step() const { return static_cast<std::uint32_t>(recipe_.steps.size()); }
  void end_step(recipe::Step step) { recipe_.steps.push_back(std::move(step)); }

  // The next step uses the value.
  void use(ValueId value, std::uint64_t rows) {
    const model::Value& v = task_.program.values[value];
    if (v.outputs_only) rows = task_.shape.outputs;
    recipe_.needs.buffers.push_back({value, Bytes(rows * v.width * sizeof(float)), step(), step()});
  }
  // From a step on until the next, that included.
  void own(Own buffer, Bytes size, std::uint32_t from) {
    if (size.value == 0) return;
    recipe_.needs.buffers.push_back({values_ + static_cast<plan::Slot>(buffer), size, from, step()});
  }
  void activations_from(std::uint32_t from) { own(Own::Activations, activations_, from); }

  void slab(TensorIndex tensor, plan::Layout layout) {
    std::vector<plan::SlabNeed>& slabs = recipe_.needs.slabs;
    const auto known = std::ranges::find(slabs, tensor, &plan::SlabNeed::tensor);
    if (known == slabs.end()) {
      slabs.push_back({tensor, layout, info(tensor).size, layout == kRows16});
    } else if (known->layout != layout) {
      throw bad_input(fmt::format("the CPU cannot read {} both as a matrix and row by row", info(tensor).name));
    }
  }
  void cache(const Operands& op, const ops::Attention& attributes) {
    const model::Cache& cache = task_.program.caches[attributes.cache];
    if (cache.kind != model::CacheKind::Full) {
      op.cannot(fmt::format("its cache is of the kind {}", model::name_of(cache.kind)));
    }
    const std::uint64_t pages = (task_.shape.context + quant::kKvPageCells - 1) / quant::kKvPageCells;
    const auto bytes = [&](quant::TensorType type, std::uint32_t dim) {
      return quant::kv_page_head_bytes(type, dim) * attributes.kv_heads * pages;
    };
    recipe_.needs.caches.push_back({attributes.cache, task_.shape.context,
                                    bytes(task_.shape.k_type, attributes.head_dim_k),
                                    bytes(task_.shape.v_type, attributes.head_dim_v)});
  }
  [[nodiscard]] std::uint32_t width(ValueId value) const { return task_.program.values[value].width; }

  [[nodiscard]] const gguf::TensorInfo& info(TensorIndex tensor) const {
    return task_.model.tensors[static_cast<std::size_t>(tensor)];
  }

  struct Head {
    ValueId value;
    const ops::Norm* norm = nullptr;
    const ops::Rope* rope = nullptr;
    const Operands* op = nullptr;  // the last that asked for it
  };
  Head& head_of(ValueId value) {
    const auto known = std::ranges::find(heads_, value, &Head::value);
    if (known != heads_.end()) return *known;
    return heads_.emplace_back(Head{value});
  }
  Head take_head(ValueId value) {
    const auto known = std::ranges::find(heads_, value, &Head::value);
    if (known == heads_.end()) return Head{value};
    const Head head = *known;
    heads_.erase(known);
    return head;
  }

  const plan::LoweringTask& task_;
  const plan::Part& part_;
  const model::Group& group_;
  const plan::Slot values_;
  Recipe recipe_;
  std::vector<Operands> operands_;
  // What waits for the step that it goes with.
  Operands* norm_ = nullptr;
  std::vector<Head> heads_;
  std::optional<std::size_t> merge_;  // attention
  const Operands* merging_ = nullptr;
  Bytes merge_bytes_;
  std::uint32_t merge_from_ = 0;
  Bytes activations_;  // of the product whose input was prepared last
};

}  // namespace

Recipe lower(const plan::LoweringTask& task, const plan::Part& part) { return Lowerer(task, part).run(); }

}  // namespace loadline::cpu
