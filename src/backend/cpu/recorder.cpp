#include "backend/cpu/recorder.h"

#include <optional>
#include <utility>

#include "backend/cpu/lower.h"
#include "plan/needs_table.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu {
namespace {

using model::TensorIndex;
using model::ValueId;

class Recorder {
 public:
  Recorder(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, const AddressOf& address)
      : model_(model), program_(program), plan_(plan), address_(address) {}

  void record(const Recipe& recipe) {
    slots_.clear();
    for (const recipe::Attention& attention : recipe.attentions) slots_.push_back(slot_of(attention));
    for (const recipe::Step& step : recipe.steps) {
      std::visit([&](const auto& one) { record(one); }, step);
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
  // Null where the plan has none.
  [[nodiscard]] std::byte* own(Own buffer) const {
    const plan::RegionIndex region = plan_.scratch[plan::kCpu].own[static_cast<std::size_t>(buffer)];
    return region == plan::kNoRegion ? nullptr : address_(region);
  }
  [[nodiscard]] std::byte* activations(Bytes offset) const { return own(Own::Activations) + offset.value; }

  void record(const recipe::Embed& embed) {
    const gguf::TensorInfo& t = info(embed.table);
    if (plan_.embedding_rows != plan::kNoRegion) {
      recording_.reader = std::make_unique<storage::FileReader>(model_.files);
      recording_.steps.emplace_back(EmbedFromDiskStep{recording_.reader.get(), t.file, t.offset, t.type, t.columns(),
                                                      address_(plan_.embedding_rows), value(embed.out)});
      return;
    }
    const plan::RegionIndex copy = plan_.embedding_copy;
    const plan::RegionIndex region =
        copy != plan::kNoRegion ? copy : plan_.weights[static_cast<std::size_t>(embed.table)];
    const Matrix table{t.type, address_(region), t.rows(), t.columns()};
    recording_.steps.emplace_back(EmbedStep{table, plan_.regions[region].layout == kRows16, value(embed.out)});
  }

  void record(const recipe::Select& select) {
    recording_.steps.emplace_back(SelectStep{value(select.x), width(select.x)});
  }

  void record(const recipe::Prepare& prepare) {
    PrepareStep step;
    step.x = value(prepare.x);
    step.width = width(prepare.x);
    step.after_select = prepare.after_select;
    if (prepare.norm != model::kNoTensor) {
      step.norm_weight = vector(prepare.norm);
      step.normed = value(prepare.normed);
      step.epsilon = prepare.epsilon;
    }
    if (prepare.merge) step.merge = slots_[*prepare.merge];
    for (std::size_t kind = 0; kind < prepare.targets.size(); ++kind) {
      if (!prepare.targets[kind]) continue;
      step.targets[step.target_count++] = {static_cast<quant::ActivationKind>(kind),
                                           activations(*prepare.targets[kind])};
    }
    step.tiles = prepare.workspaces.has_value();
    recording_.steps.emplace_back(step);
  }

  // Of the matrix unit.
  template <class Product>
  void give_workspaces(const std::optional<Bytes>& workspaces, Product& step) const {
    step.workspaces = workspaces ? activations(*workspaces) : nullptr;
    step.workspace_bytes = quant::matrix_workspace(step.after_select ? plan_.shape.outputs : plan_.shape.batch).value;
  }

  void record(const recipe::Linear& linear) {
    LinearStep step;
    step.after_select = linear.after_select;
    for (const recipe::Product& product : linear.products) {
      MatmulTask& part = step.parts[step.part_count++];
      part.weights = matrix(product.weights);
      part.activations = activations(product.activations);
      part.out = value(product.out);
      part.out_stride = width(product.out);
      part.bias = vector(product.bias);
      part.accumulate = linear.accumulate;
    }
    give_workspaces(linear.workspaces, step);
    recording_.steps.emplace_back(step);
  }

  void record(const recipe::Gated& gated) {
    GatedStep step;
    step.second = gated.second;
    step.after_select = gated.after_select;
    step.task.gate = matrix(gated.gate.weights);
    step.task.up = matrix(gated.up.weights);
    step.task.gate_activations = activations(gated.gate.activations);
    step.task.up_activations = activations(gated.up.activations);
    step.task.out = value(gated.gate.out);
    step.task.out_stride = width(gated.gate.out);
    give_workspaces(gated.workspaces, step);
    recording_.steps.emplace_back(step);
  }

  void record(const recipe::Heads& heads) { recording_.steps.emplace_back(HeadsStep{*slots_[heads.attention]}); }
  void record(const recipe::Attend& attend) { recording_.steps.emplace_back(AttentionStep{*slots_[attend.attention]}); }

  const AttentionSlot* slot_of(const recipe::Attention& attention) {
    const model::ops::Attention& attributes = attention.attributes;
    const plan::KvRegions& regions = plan_.kv[attributes.cache];
    auto slot = std::make_unique<AttentionSlot>();
    slot->kv = {plan_.shape.k_type,  plan_.shape.v_type,    address_(regions.k),  address_(regions.v),
                attributes.kv_heads, attributes.head_dim_k, attributes.head_dim_v};
    slot->q = value(attention.q);
    slot->k = value(attention.k);
    slot->v = value(attention.v);
    slot->out = value(attention.out);
    slot->q_norm = vector(attention.q_norm);
    slot->k_norm = vector(attention.k_norm);
    slot->heads = attributes.heads;
    slot->scale = attributes.scale;
    slot->epsilon = attention.epsilon;
    slot->rotary = 0;
    slot->neox = false;
    if (attention.rope) {
      const model::RopeConfig& rope = program_.ropes[*attention.rope].config;
      slot->rotary = rope.dimensions;
      slot->neox = rope.neox;
    }
    slot->workspace = own(Own::Attention);
    recording_.slots.push_back(std::move(slot));
    return recording_.slots.back().get();
  }

  const gguf::Model& model_;
  const model::Program& program_;
  const plan::Plan& plan_;
  const AddressOf& address_;
  Recording recording_;
  std::vector<const AttentionSlot*> slots_;  // of the recipe's attentions
};

}  // namespace

Recording record_stage(const gguf::Model& model, const model::Program& program, const plan::Plan& plan,
                       const plan::Stage& stage, const AddressOf& address) {
  Recorder recorder(model, program, plan, address);
  for (const plan::Part& part : plan::parts_of(stage)) {
    const bool streamed = plan.groups[part.group].streamed;
    if (streamed) recorder.gate(part.group, true);
    recorder.record(lower({model, program, plan.shape}, part));
    if (streamed) recorder.gate(part.group, false);
  }
  return recorder.finish();
}

}  // namespace loadline::cpu
