#include "backend/cpu/recorder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "backend/cpu/lower.h"
#include "backend/cpu/lowerer.h"
#include "base/error.h"
#include "plan/cache_pages.h"
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
  // Of some of its rows.
  [[nodiscard]] Matrix matrix(TensorIndex tensor, std::uint64_t first_row, std::uint64_t rows) const {
    Matrix all = matrix(tensor);
    all.data += quant::size_of(all.type, all.columns).value * first_row;
    all.rows = rows;
    return all;
  }
  // A value, or a buffer of our own.
  [[nodiscard]] float* value(plan::Slot slot) const {
    const plan::DeviceScratch& scratch = plan_.scratch[plan::kCpu];
    const std::size_t values = scratch.values.size();
    return reinterpret_cast<float*>(address_(slot < values ? scratch.values[slot] : scratch.own[slot - values]));
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
      if (embed.by_position || embed.add || embed.table != program_.groups.front().tensors().front()) {
        throw bad_input("the CPU cannot read more than one table of embeddings from disk for every pass",
                        "Give RAM enough for them.");
      }
      recording_.reader = std::make_unique<storage::FileReader>(model_.files);
      recording_.steps.emplace_back(EmbedFromDiskStep{recording_.reader.get(), t.file, t.offset, t.type, t.columns(),
                                                      address_(plan_.embedding_rows), value(embed.out)});
      return;
    }
    // Of the table that the output matrix is, too; there may be others.
    const plan::RegionIndex copy = plan_.embedding_copy;
    const bool copied = copy != plan::kNoRegion && plan_.regions[copy].tensor == embed.table;
    const plan::RegionIndex region = copied ? copy : plan_.weights[static_cast<std::size_t>(embed.table)];
    const Matrix table{t.type, address_(region), t.rows(), t.columns()};
    recording_.steps.emplace_back(
        EmbedStep{table, plan_.regions[region].layout == kRows16, value(embed.out), embed.by_position, embed.add});
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
      step.targets.at(step.target_count++) = {static_cast<quant::ActivationKind>(kind),
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
      MatmulTask& part = step.parts.at(step.part_count++);
      part.weights = matrix(product.weights, product.first_row, product.rows);
      part.activations = activations(product.activations);
      part.out = value(product.out);
      part.out_stride = product.rows;
      part.bias = vector(product.bias);
      if (part.bias != nullptr) part.bias += product.first_row;
      part.accumulate = linear.accumulate;
    }
    give_workspaces(linear.workspaces, step);
    recording_.steps.emplace_back(step);
  }

  void record(const recipe::Gated& gated) {
    GatedStep step;
    step.second = gated.second;
    step.after_select = gated.after_select;
    step.task.gate = matrix(gated.gate.weights, gated.gate.first_row, gated.gate.rows);
    step.task.up = matrix(gated.up.weights, gated.up.first_row, gated.up.rows);
    step.task.gate_activations = activations(gated.gate.activations);
    step.task.up_activations = activations(gated.up.activations);
    step.task.out = value(gated.gate.out);
    step.task.out_stride = gated.gate.rows;
    give_workspaces(gated.workspaces, step);
    recording_.steps.emplace_back(step);
  }

  void record(const recipe::Heads& heads) { recording_.steps.emplace_back(HeadsStep{*slots_[heads.attention]}); }
  void record(const recipe::Attend& attend) { recording_.steps.emplace_back(AttentionStep{*slots_[attend.attention]}); }

  const AttentionSlot* slot_of(const recipe::Attention& attention) {
    const model::ops::Attention& attributes = attention.attributes;
    const plan::KvRegions& regions = plan_.kv[attributes.cache];
    auto slot = std::make_unique<AttentionSlot>();
    slot->kv = {plan_.shape.k_type,   plan_.shape.v_type,
                address_(regions.k),  attributes.values_in_keys ? nullptr : address_(regions.v),
                attributes.kv_heads,  attributes.head_dim_k,
                attributes.head_dim_v};
    slot->q = value(attention.q);
    slot->k = attention.k ? value(*attention.k) : nullptr;
    slot->v = attention.v ? value(*attention.v) : nullptr;
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
      slot->rope_table = *attention.rope;
      slot->rope_offset = attention.rope_offset;
    }
    slot->workspace = own(Own::Attention);
    slot->stores = attributes.stores;
    slot->windowed = program_.caches[attributes.cache].kind == model::CacheKind::Window &&
                     plan::has_window_pages(program_, plan_.shape);
    slot->temperature = attributes.temperature.scale;
    slot->temperature_length = std::max(1U, attributes.temperature.length);
    slot->temperature_ahead = attributes.temperature.ahead;
    slot->softcap = attributes.softcap;
    slot->alibi = attributes.alibi;
    slot->window = attributes.window;
    slot->chunk = attributes.chunk;
    slot->sinks = vector(attributes.sinks);
    recording_.slots.push_back(std::move(slot));
    return recording_.slots.back().get();
  }

  void record(const recipe::Norm& norm) {
    const model::ops::Norm& attributes = norm.attributes;
    NormStep step{};
    step.x = value(norm.x);
    step.out = value(norm.out);
    step.width = width(norm.x);
    step.part = attributes.part;
    step.parts = attributes.parts;
    step.offset = attributes.offset;
    step.norm.kind = attributes.kind == model::ops::NormKind::Layer ? NormKind::Layer : NormKind::Rms;
    step.norm.epsilon = attributes.epsilon;
    step.norm.weight = vector(attributes.weight);
    step.norm.bias = vector(attributes.bias);
    step.weight_per_part = attributes.weight_per_part;
    step.after_select = norm.after_select;
    recording_.steps.emplace_back(step);
  }

  void record(const recipe::Rope& rope) {
    const model::RopeConfig& config = program_.ropes[rope.attributes.table].config;
    const auto heads = static_cast<std::uint32_t>(width(rope.x)) / rope.attributes.head_dim;
    recording_.steps.emplace_back(RopeStep{value(rope.x), heads, rope.attributes.head_dim, rope.attributes.offset,
                                           config.dimensions, rope.attributes.table, config.neox});
  }

  void record(const recipe::Map& map) {
    const float* tensor = vector(map.tensor);
    if (tensor != nullptr) tensor += map.first;
    recording_.steps.emplace_back(MapStep{map.kind, value(map.a), value(map.b), value(map.out), map.width, map.function,
                                          map.factor, tensor, map.after_select});
  }

  void record(const recipe::Split& split) {
    SplitStep step{};
    step.x = value(split.x);
    step.repeats = split.attributes.repeats;
    step.widths = split.attributes.widths;
    for (const ValueId out : split.outs) step.outs.push_back(value(out));
    step.after_select = split.after_select;
    recording_.steps.emplace_back(step);
  }

  void record(const recipe::Route& route) {
    using Model = model::ops::Gating;
    const model::ops::Route& attributes = route.attributes;
    Routing routing;
    switch (attributes.gating) {
      case Model::Softmax: routing.gating = Routing::Gating::Softmax; break;
      case Model::Sigmoid: routing.gating = Routing::Gating::Sigmoid; break;
      case Model::SoftmaxOfChosen: routing.gating = Routing::Gating::SoftmaxOfChosen; break;
      case Model::SigmoidOfChosen: routing.gating = Routing::Gating::SigmoidOfChosen; break;
      case Model::SqrtSoftplus: routing.gating = Routing::Gating::SqrtSoftplus; break;
    }
    routing.experts = attributes.experts;
    routing.used = attributes.used;
    routing.groups = std::max(1U, attributes.groups);
    routing.groups_used = std::max(1U, attributes.groups_used);
    routing.normalise = attributes.normalize;
    routing.scale = attributes.scale;
    routing.choice_bias = vector(attributes.choice_bias);
    recording_.steps.emplace_back(
        RouteStep{routing, value(route.logits), reinterpret_cast<ChosenExpert*>(value(route.out)), route.after_select});
  }

  ExpertMatrices matrices_of(const recipe::ExpertPart& part) const {
    const float* bias = vector(part.bias);
    return {{matrix(part.tensor), part.first_row, part.distance, part.rows},
            bias != nullptr ? bias + part.first_row : nullptr,
            part.distance,
            vector(part.scale)};
  }

  void record(const recipe::ExpertsPhase& phase) {
    if (phase.phase == ExpertsStep::Phase::Begin) experts_ = experts_of(phase.experts);
    recording_.steps.emplace_back(ExpertsStep{phase.phase, experts_});
  }

  const ExpertsSlot* experts_of(const recipe::Experts& experts) {
    const model::ops::Experts& attributes = experts.attributes;
    std::byte* base = own(Own::Experts);
    const auto floats = [&](Bytes offset) { return reinterpret_cast<float*>(base + offset.value); };
    auto slot = std::make_unique<ExpertsSlot>();
    slot->experts = attributes.experts;
    slot->used = attributes.used;
    slot->chosen = reinterpret_cast<const ChosenExpert*>(value(experts.chosen));
    auto* free = reinterpret_cast<std::uint32_t*>(base + experts.tables.value);
    const auto take = [&](std::uint64_t count) { return std::exchange(free, free + count); };
    slot->tables.begin = take(attributes.experts + 1);
    slot->tables.active = take(attributes.experts);
    slot->tables.count = take(1);
    slot->tables.expert = take(experts.rows);
    slot->tables.token = take(experts.rows);
    slot->tables.weight = reinterpret_cast<float*>(take(experts.rows));
    slot->tables.rows_of = take(experts.rows);
    slot->x = value(experts.x);
    slot->width = width(experts.x);
    slot->gated = attributes.gate.tensor != model::kNoTensor;
    if (slot->gated) slot->gate = matrices_of(experts.gate);
    slot->up = matrices_of(experts.up);
    slot->down = matrices_of(experts.down);
    for (const recipe::Experts::Input& input : experts.inputs) {
      const std::uint32_t i = slot->input_count++;
      slot->inputs[i] = {input.kind, base + input.prepared.value, base + input.gathered.value};
      if (slot->gated && quant::activation_kind(slot->gate.weights.all.type) == input.kind) slot->gate_input = i;
      if (quant::activation_kind(slot->up.weights.all.type) == input.kind) slot->up_input = i;
    }
    slot->gate_out = floats(experts.gate_out);
    slot->up_out = floats(experts.up_out);
    slot->function = function_of(attributes.activation);
    slot->weights_before = attributes.weights_before;
    slot->hidden_kind = quant::activation_kind(slot->down.weights.all.type);
    slot->hidden = base + experts.hidden.value;
    slot->results = floats(experts.results);
    slot->workspace = floats(experts.workspace);
    slot->workspace_floats = experts.workspace_floats;
    slot->out = value(experts.out);
    slot->out_width = width(experts.out);
    slot->after_select = experts.after_select;
    recording_.experts.push_back(std::move(slot));
    return recording_.experts.back().get();
  }

  void record(const recipe::HeadLinear& linear) {
    const model::ops::HeadLinear& attributes = linear.attributes;
    HeadLinearStep step{};
    step.phase = linear.second ? HeadLinearStep::Phase::Multiply : HeadLinearStep::Phase::Prepare;
    step.weights = {matrix(attributes.tensor), attributes.first_row, attributes.head_rows,
                    attributes.transposed ? attributes.columns : attributes.rows};
    step.heads = attributes.heads;
    step.columns = attributes.columns;
    step.rows = attributes.rows;
    step.copied = attributes.copied;
    step.transposed = attributes.transposed;
    step.kind = quant::activation_kind(step.weights.all.type);
    step.prepared = own(Own::Experts);
    step.x = value(linear.x);
    step.out = value(linear.out);
    step.after_select = linear.after_select;
    recording_.steps.emplace_back(step);
  }

  [[nodiscard]] StateSlots states_of(model::CacheIndex cache) const {
    return {reinterpret_cast<float*>(address_(plan_.kv[cache].k)), program_.caches[cache].state};
  }

  void record(const recipe::Convolution& convolution) {
    const model::ops::Convolution& attributes = convolution.attributes;
    const Convolution kernel{vector(attributes.weight), vector(attributes.bias), attributes.taps,
                             static_cast<std::uint32_t>(width(convolution.x)),
                             attributes.activation == model::Activation::Silu};
    recording_.steps.emplace_back(
        ConvolutionStep{states_of(attributes.cache), kernel, value(convolution.x), value(convolution.out)});
  }

  void record(const recipe::DeltaNet& net) {
    const model::ops::DeltaNet& attributes = net.attributes;
    DeltaNetStep step{};
    step.states = states_of(attributes.cache);
    step.net = {attributes.key_heads, attributes.value_heads, attributes.size, attributes.tiled};
    step.qkv = value(net.qkv);
    step.beta = value(net.beta);
    step.decay = value(net.decay);
    step.epsilon = attributes.epsilon;
    step.bias = vector(attributes.dt_bias);
    step.a = vector(attributes.decay);
    step.out = value(net.out);
    if (net.second) {
      recording_.steps.emplace_back(step);
    } else {
      recording_.steps.emplace_back(DeltaRowsStep{step});
    }
  }

  void record(const recipe::StateSpace& space) {
    const model::ops::StateSpace& attributes = space.attributes;
    Mamba2Step step{};
    step.states = states_of(attributes.cache);
    step.scan = {attributes.heads,     attributes.inner / attributes.heads,
                 attributes.groups,    attributes.state,
                 vector(attributes.a), vector(attributes.d)};
    step.xbc = value(space.xbc);
    step.dt = value(space.dt);
    step.dt_bias = vector(attributes.dt_bias);
    step.out = value(space.out);
    if (space.second) {
      recording_.steps.emplace_back(step);
    } else {
      recording_.steps.emplace_back(Mamba2RowsStep{step});
    }
  }

  const gguf::Model& model_;
  const model::Program& program_;
  const plan::Plan& plan_;
  const AddressOf& address_;
  Recording recording_;
  std::vector<const AttentionSlot*> slots_;  // of the recipe's attentions
  const ExpertsSlot* experts_ = nullptr;     // of the steps that are recorded
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
