#include "backend/cpu/recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "model/support.h"
#include "plan/gpu_staging.h"
#include "plan/workspace.h"
#include "quant/attention_workspace.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu {
namespace {

using model::Op;
using model::OpKind;
using model::TensorIndex;
using model::ValueId;
namespace ops = model::ops;

const model::Support kKnown[] = {
    {OpKind::Embed, {}}, {OpKind::Norm, {"parts"}}, {OpKind::Linear, {"add", "bias"}}, {OpKind::GatedLinear, {}},
    {OpKind::Rope, {}},  {OpKind::Attention, {}},   {OpKind::SelectOutputs, {}},
};

class Recorder {
 public:
  Recorder(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, const AddressOf& address)
      : model_(model), program_(program), config_(program.config), plan_(plan), address_(address) {}

  void record(const Op& op) {
    switch (op.kind) {
      case OpKind::Embed: return embed(op);
      case OpKind::Norm: return norm(op);
      case OpKind::Linear: return linear(op);
      case OpKind::GatedLinear: return gated(op);
      case OpKind::Rope: return pend(pending_rope_, op);
      case OpKind::Attention: return attention(op);
      case OpKind::SelectOutputs:
        recording_.steps.emplace_back(SelectStep{value(op.inputs[0]), width(op.inputs[0])});
        return;
      default: misplaced(op);
    }
  }

  void gate(std::uint32_t group, bool acquire) { recording_.steps.emplace_back(GateStep{group, acquire}); }

  Recording finish() {
    if (pending_norm_ != nullptr) misplaced(*pending_norm_);
    if (pending_rope_ != nullptr) misplaced(*pending_rope_);
    if (!head_norms_.empty()) misplaced(*head_norms_.front());
    recording_.queues = std::vector<WorkQueue>(recording_.steps.size());
    return std::move(recording_);
  }

 private:
  [[nodiscard]] const gguf::TensorInfo& info(TensorIndex tensor) const {
    return model_.tensors[static_cast<std::size_t>(tensor)];
  }
  [[nodiscard]] std::byte* tensor_address(TensorIndex tensor) const {
    return address_(plan_.weights[static_cast<std::size_t>(tensor)]);
  }
  [[nodiscard]] const float* vector(TensorIndex tensor) const {
    return tensor == model::kNoTensor ? nullptr : reinterpret_cast<const float*>(tensor_address(tensor));
  }
  [[nodiscard]] Matrix matrix(TensorIndex tensor) const {
    const gguf::TensorInfo& t = info(tensor);
    return {t.type, tensor_address(tensor), t.rows(), t.columns()};
  }
  [[nodiscard]] float* value(ValueId id) const {
    return reinterpret_cast<float*>(address_(plan_.scratch[plan::kCpu].values[id]));
  }
  [[nodiscard]] std::uint64_t width(ValueId id) const { return program_.values[id].width; }

  // An operation that is known, but not between these neighbours.
  [[noreturn]] void misplaced(const Op& op) const {
    throw bad_input(fmt::format("models of the family \"{}\" cannot run on the CPU yet: nothing takes the result of {}",
                                config_.architecture, model::name_of(op.kind)));
  }
  void pend(const Op*& pending, const Op& op) const {
    if (pending != nullptr) misplaced(*pending);
    pending = &op;
  }

  // Recorded with the product, or the attention, that follows.
  void norm(const Op& op) {
    if (op.as<ops::Norm>().parts == 1 && op.inputs[0] != op.outputs[0]) return pend(pending_norm_, op);
    head_norms_.push_back(&op);
  }
  const ops::Norm* take_head_norm(ValueId value) {
    const auto found = std::ranges::find_if(head_norms_, [&](const Op* op) { return op->outputs[0] == value; });
    if (found == head_norms_.end()) return nullptr;
    const ops::Norm& norm = (*found)->as<ops::Norm>();
    head_norms_.erase(found);
    return &norm;
  }

  void embed(const Op& op) {
    const TensorIndex tensor = op.as<ops::Embed>().table;
    if (plan_.embedding_rows != plan::kNoRegion) {
      const gguf::TensorInfo& t = info(tensor);
      recording_.reader = std::make_unique<storage::FileReader>(model_.files);
      recording_.steps.emplace_back(EmbedFromDiskStep{recording_.reader.get(), t.file, t.offset, t.type, t.columns(),
                                                      address_(plan_.embedding_rows), value(op.outputs[0])});
      return;
    }
    const plan::RegionIndex own = plan_.embedding_copy;
    const plan::RegionIndex region = own != plan::kNoRegion ? own : plan_.weights[static_cast<std::size_t>(tensor)];
    const gguf::TensorInfo& t = info(tensor);
    const Matrix table{t.type, address_(region), t.rows(), t.columns()};
    recording_.steps.emplace_back(
        EmbedStep{table, plan_.regions[region].layout == plan::Layout::Rows16, value(op.outputs[0])});
  }

  // The step that makes `op`'s input ready for its products, taking along a norm or the end of attention.
  void prepare(const Op& op) {
    const plan::LinearWorkspace workspace = plan::linear_workspace(op, model_, plan_.shape);
    PrepareStep step;
    step.x = value(op.inputs[0]);
    step.width = width(op.inputs[0]);
    step.after_select = op.after_select;
    if (pending_norm_ != nullptr) {
      if (pending_norm_->outputs[0] != op.inputs[0]) misplaced(*pending_norm_);
      const auto& norm = pending_norm_->as<ops::Norm>();
      step.x = value(pending_norm_->inputs[0]);
      step.norm_weight = vector(norm.weight);
      step.normed = value(pending_norm_->outputs[0]);
      step.epsilon = norm.epsilon;
      pending_norm_ = nullptr;
    } else if (pending_merge_ != nullptr) {
      step.merge = pending_merge_;
      pending_merge_ = nullptr;
    }
    std::byte* base = address_(plan_.scratch[plan::kCpu].activations);
    for (const quant::ActivationKind kind : {quant::ActivationKind::Int8, quant::ActivationKind::Float32}) {
      const std::optional<Bytes> offset = workspace.offset(kind);
      if (!offset) continue;
      std::byte* target = base + offset->value;
      prepared_[static_cast<std::size_t>(kind)] = target;
      step.targets[step.target_count++] = {kind, target};
    }
    step.tiles = workspace.products.has_value();
    workspaces_ = step.tiles ? base + workspace.products->value : nullptr;
    recording_.steps.emplace_back(step);
  }
  // Those of the product whose input was prepared last.
  template <class Product>
  void give_workspaces(Product& step) const {
    step.workspaces = workspaces_;
    step.workspace_bytes = quant::matrix_workspace(step.after_select ? plan_.shape.outputs : plan_.shape.batch).value;
  }
  [[nodiscard]] const std::byte* prepared(TensorIndex tensor) const {
    return prepared_[static_cast<std::size_t>(quant::activation_kind(info(tensor).type))];
  }

  void linear(const Op& op) {
    prepare(op);
    LinearStep step;
    step.after_select = op.after_select;
    const auto& attributes = op.as<ops::Linear>();
    if (attributes.parts.size() > step.parts.size()) misplaced(op);
    for (std::size_t i = 0; i < attributes.parts.size(); ++i) {
      MatmulTask& part = step.parts[step.part_count++];
      part.weights = matrix(attributes.parts[i].tensor);
      part.activations = prepared(attributes.parts[i].tensor);
      part.out = value(op.outputs[i]);
      part.out_stride = width(op.outputs[i]);
      part.bias = vector(attributes.parts[i].bias);
      part.accumulate = attributes.add;
    }
    give_workspaces(step);
    recording_.steps.emplace_back(step);
  }

  void gated(const Op& op) {
    prepare(op);
    GatedStep step;
    step.after_select = op.after_select;
    const auto& [gate, up] = op.as<ops::GatedLinear>().parts;
    step.task.gate = matrix(gate.tensor);
    step.task.up = matrix(up.tensor);
    step.task.gate_activations = prepared(gate.tensor);
    step.task.up_activations = prepared(up.tensor);
    step.task.out = value(op.outputs[0]);
    step.task.out_stride = width(op.outputs[0]);
    give_workspaces(step);
    recording_.steps.emplace_back(step);
    step.second = true;
    recording_.steps.emplace_back(step);
  }

  void attention(const Op& op) {
    const auto& attributes = op.as<ops::Attention>();
    const plan::KvRegions& regions = plan_.kv[attributes.cache];
    auto slot = std::make_unique<AttentionSlot>();
    slot->kv = {plan_.shape.k_type,  plan_.shape.v_type,    address_(regions.k),  address_(regions.v),
                attributes.kv_heads, attributes.head_dim_k, attributes.head_dim_v};
    slot->q = value(op.inputs[0]);
    slot->k = value(op.inputs[1]);
    slot->v = value(op.inputs[2]);
    slot->out = value(op.outputs[0]);
    const ops::Norm* q_norm = take_head_norm(op.inputs[0]);
    const ops::Norm* k_norm = take_head_norm(op.inputs[1]);
    const bool even = q_norm == nullptr || (k_norm != nullptr && q_norm->part == attributes.head_dim_k &&
                                            k_norm->part == q_norm->part && k_norm->epsilon == q_norm->epsilon);
    if ((q_norm == nullptr) != (k_norm == nullptr) || !even) misplaced(op);
    slot->q_norm = q_norm == nullptr ? nullptr : vector(q_norm->weight);
    slot->k_norm = k_norm == nullptr ? nullptr : vector(k_norm->weight);
    slot->heads = attributes.heads;
    slot->scale = attributes.scale;
    slot->epsilon = q_norm == nullptr ? 0.0F : q_norm->epsilon;
    if (pending_rope_ == nullptr || pending_rope_->inputs != std::vector{op.inputs[0], op.inputs[1]}) misplaced(op);
    const model::RopeConfig& rope = program_.ropes[pending_rope_->as<ops::Rope>().table].config;
    pending_rope_ = nullptr;
    slot->rotary = rope.dimensions;
    slot->neox = rope.neox;
    const plan::RegionIndex workspace = plan_.scratch[plan::kCpu].attention;
    slot->workspace = workspace == plan::kNoRegion ? nullptr : address_(workspace);
    recording_.steps.emplace_back(HeadsStep{*slot});
    recording_.steps.emplace_back(AttentionStep{*slot});
    pending_merge_ = slot.get();
    recording_.slots.push_back(std::move(slot));
  }

  const gguf::Model& model_;
  const model::Program& program_;
  const model::ModelConfig& config_;
  const plan::Plan& plan_;
  const AddressOf& address_;
  Recording recording_;
  const Op* pending_norm_ = nullptr;                            // recorded with the product that follows
  const AttentionSlot* pending_merge_ = nullptr;                // likewise
  const Op* pending_rope_ = nullptr;                            // recorded with the attention that follows
  std::vector<const Op*> head_norms_;                           // likewise, of q and k
  std::array<std::byte*, quant::kActivationKinds> prepared_{};  // per ActivationKind, of the current product
  std::byte* workspaces_ = nullptr;                             // likewise
};

}  // namespace

void require_supported(const model::Program& program) {
  model::require_supported(program, kKnown, "the CPU");
  model::require_uniform(program, "the CPU");
}

// A stage that ends with an attention leaves its product to another device, in passes of many tokens only: those have
// no partial results, which the product's preparation would put together.
static_assert(plan::kFewRows >= quant::kSplitTokens);

Recording record_stage(const gguf::Model& model, const model::Program& program, const plan::Plan& plan,
                       const plan::Stage& stage, const AddressOf& address) {
  Recorder recorder(model, program, plan, address);
  const std::uint32_t end = stage.first_group + stage.group_count;
  for (std::uint32_t group = stage.first_group; group < end; ++group) {
    const bool streamed = plan.groups[group].streamed;
    if (streamed) recorder.gate(group, true);
    for (const Op& op : plan::stage_ops(program, stage, group)) recorder.record(op);
    if (streamed) recorder.gate(group, false);
  }
  return recorder.finish();
}

}  // namespace loadline::cpu
