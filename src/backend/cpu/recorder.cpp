#include "backend/cpu/recorder.h"

#include <cmath>
#include <optional>
#include <utility>

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

class Recorder {
 public:
  Recorder(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, const AddressOf& address)
      : model_(model), program_(program), config_(program.config), plan_(plan), address_(address) {}

  void record(const Op& op) {
    switch (op.kind) {
      case OpKind::Embed: return embed(op);
      case OpKind::RmsNorm: pending_norm_ = &op; return;
      case OpKind::Linear:
      case OpKind::LinearAdd: return linear(op);
      case OpKind::GatedLinear: return gated(op);
      case OpKind::HeadNorm:
        (op.heads == config_.heads && q_norm_ == nullptr ? q_norm_ : k_norm_) = vector(op.tensors[0]);
        return;
      case OpKind::Rope: return;  // part of the heads step that Attention records
      case OpKind::Attention: return attention(op);
      case OpKind::SelectOutputs:
        recording_.steps.emplace_back(SelectStep{value(op.inputs[0]), width(op.inputs[0])});
        return;
    }
  }

  void gate(std::uint32_t group, bool acquire) { recording_.steps.emplace_back(GateStep{group, acquire}); }

  Recording finish() {
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

  void embed(const Op& op) {
    const TensorIndex tensor = op.tensors[0];
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
      step.x = value(pending_norm_->inputs[0]);
      step.norm_weight = vector(pending_norm_->tensors[0]);
      step.normed = value(pending_norm_->outputs[0]);
      step.epsilon = config_.rms_epsilon;
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
    for (std::size_t i = 0; i < op.tensors.size(); ++i) {
      MatmulTask& part = step.parts[step.part_count++];
      part.weights = matrix(op.tensors[i]);
      part.activations = prepared(op.tensors[i]);
      part.out = value(op.outputs[i]);
      part.out_stride = width(op.outputs[i]);
      part.bias = vector(op.biases[i]);
      part.accumulate = op.kind == OpKind::LinearAdd;
    }
    give_workspaces(step);
    recording_.steps.emplace_back(step);
  }

  void gated(const Op& op) {
    prepare(op);
    GatedStep step;
    step.after_select = op.after_select;
    step.task.gate = matrix(op.tensors[0]);
    step.task.up = matrix(op.tensors[1]);
    step.task.gate_activations = prepared(op.tensors[0]);
    step.task.up_activations = prepared(op.tensors[1]);
    step.task.out = value(op.outputs[0]);
    step.task.out_stride = width(op.outputs[0]);
    give_workspaces(step);
    recording_.steps.emplace_back(step);
    step.second = true;
    recording_.steps.emplace_back(step);
  }

  void attention(const Op& op) {
    const plan::KvRegions& regions = plan_.kv[op.layer];
    auto slot = std::make_unique<AttentionSlot>();
    slot->kv = {plan_.shape.k_type, plan_.shape.v_type, address_(regions.k), address_(regions.v),
                config_.kv_heads,   config_.head_dim_k, config_.head_dim_v};
    slot->q = value(op.inputs[0]);
    slot->k = value(op.inputs[1]);
    slot->v = value(op.inputs[2]);
    slot->out = value(op.outputs[0]);
    slot->q_norm = q_norm_;
    slot->k_norm = k_norm_;
    q_norm_ = nullptr;
    k_norm_ = nullptr;
    slot->heads = config_.heads;
    slot->scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim_k));
    slot->epsilon = config_.rms_epsilon;
    slot->rotary = config_.rope.dimensions;
    slot->neox = config_.rope.neox;
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
  const Op* pending_norm_ = nullptr;              // recorded with the product that follows
  const AttentionSlot* pending_merge_ = nullptr;  // likewise
  const float* q_norm_ = nullptr;                 // recorded with the attention that follows
  const float* k_norm_ = nullptr;
  std::array<std::byte*, quant::kActivationKinds> prepared_{};  // per ActivationKind, of the current product
  std::byte* workspaces_ = nullptr;                             // likewise
};

}  // namespace

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
