#include "backend/vulkan/recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "backend/vulkan/slices.h"
#include "backend/vulkan/staging.h"
#include "base/error.h"
#include "model/support.h"
#include "plan/crossing.h"

namespace loadline::vulkan {
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

// How long a command list may become, so that a stop between two of them comes in time: about 30 ms on the slowest
// device of the kind, where one step can be cut that small. Counted in multiply-adds; a laptop's card does a million
// million of them a second. llvmpipe does a thousand million on two cores, and takes 16 times that for a weight's
// decoding.
struct WorkLimit {
  std::uint64_t most;    // multiply-adds of a list
  std::uint64_t decode;  // multiply-adds that decoding one weight costs
};

WorkLimit work_limit(const Context& context) {
  switch (context.info().kind) {
    case hardware::VulkanDeviceKind::Software: return {15'000'000, 16};
    case hardware::VulkanDeviceKind::Discrete: return {30'000'000'000, 0};
    default: return {3'000'000'000, 0};
  }
}

class Recorder {
 public:
  Recorder(Context& context, Pipelines& pipelines, const StageSource& source, std::uint32_t most)
      : context_(context),
        operations_(context, pipelines, source.codebooks),
        source_(source),
        config_(source.program.config),
        shape_(attention_shape(source.program, source.plan.shape)),
        scratch_(source.plan.scratch[source.device]),
        table_(pass_table(source.plan.shape)),
        staging_(
            host_staging({source.model, source.program, source.plan.shape}, device_task(source.plan, source.device))),
        table_address_(source.place(region_of(scratch_, Staging::Table)).address),
        most_(most),
        limit_(work_limit(context)) {
    open_list();
  }

  void begin_stage(const plan::Stage& stage);
  void record(const Op& op);
  // A group whose weights pass through the ring.
  void record_through(const model::Group& group, std::span<const Op> ops);
  void end_stage(const plan::Stage& stage);
  StageRecording take() { return std::move(recording_); }

 private:
  // An operation that is known, but not between these neighbours.
  [[noreturn]] void misplaced(const Op& op) const {
    throw bad_input(fmt::format("models of the family \"{}\" cannot run on a GPU yet: nothing takes the result of {}",
                                config_.architecture, model::name_of(op.kind)));
  }
  void pend(const Op*& pending, const Op& op) const {
    if (pending != nullptr) misplaced(*pending);
    pending = &op;
  }
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
  [[nodiscard]] CommandList& list() { return recording_.lists.back().list; }
  void open_list() {
    recording_.lists.push_back({CommandList(context_)});
    list().begin(true);
    work_ = 0;
  }
  // The list for a step of this much work, after everything before it or beside it.
  CommandList& step(std::uint64_t work, bool beside = false) {
    if (work_ > 0 && work_ + work > limit_.most) {
      list().end();
      open_list();
      beside = false;
    }
    work_ += work;
    if (!beside) list().barrier();
    return list();
  }
  static Place moved(Place place, Bytes offset) {
    place.offset += offset.value;
    place.address += offset.value;
    if (place.data != nullptr) place.data += offset.value;
    return place;
  }

  [[nodiscard]] const gguf::TensorInfo& info(TensorIndex tensor) const {
    return source_.model.tensors[static_cast<std::size_t>(tensor)];
  }
  [[nodiscard]] Address region(plan::RegionIndex index) const { return source_.place(index).address; }
  [[nodiscard]] Address tensor(TensorIndex index) const {
    if (index == model::kNoTensor) return 0;
    for (const auto& [passing, address] : passing_) {
      if (passing == index) return address;
    }
    return region(source_.plan.weights[static_cast<std::size_t>(index)]);
  }
  [[nodiscard]] bool is_passing(TensorIndex index) const {
    return std::ranges::any_of(passing_, [&](const auto& one) { return one.first == index; });
  }
  // The rows of the operation's matrices that are there now.
  void set_rows(ProductArguments& arguments, const gguf::TensorInfo& matrix) const {
    arguments.first_row = slice_ == nullptr ? 0 : static_cast<std::uint32_t>(slice_->first_row);
    arguments.end_row =
        static_cast<std::uint32_t>(slice_ == nullptr ? matrix.rows() : slice_->first_row + slice_->rows);
  }
  [[nodiscard]] Address value(ValueId id) const { return region(scratch_.values[id]); }
  [[nodiscard]] std::uint32_t width(ValueId id) const { return source_.program.values[id].width; }
  [[nodiscard]] Address table(Bytes offset) const { return table_address_ + offset.value; }
  // Rows an operation has at most.
  [[nodiscard]] std::uint32_t rows(bool after_select) const {
    return after_select ? std::min(most_, source_.plan.shape.outputs) : most_;
  }

  // Where a value lies on its way from or to another device.
  [[nodiscard]] Place staged(ValueId id) const {
    return moved(source_.place(region_of(scratch_, Staging::Host)),
                 staging_.crossing + staged_offset(source_.program, source_.plan.shape, id));
  }
  [[nodiscard]] Bytes crossing_bytes(ValueId id, bool after_select) const {
    return Bytes(std::uint64_t{rows(after_select)} * width(id) * sizeof(float));
  }

  void embed(const Op& op);
  void products(const Op& op);
  void gated(const Op& op);
  // The input of a product, with the norm that waits: left to the product where that can do it, else done here.
  void prepare(const Op& op, ProductArguments& arguments);
  void product(const ProductArguments& arguments, quant::TensorType format, std::uint32_t most, bool beside);
  void attention(const Op& op);
  void bring(const WeightSlice& slice);

  Context& context_;
  Operations operations_;
  const StageSource& source_;
  const model::ModelConfig& config_;
  AttentionShape shape_;
  const plan::DeviceScratch& scratch_;
  PassTable table_;
  HostStaging staging_;
  Address table_address_;
  std::uint32_t most_;
  WorkLimit limit_;
  std::uint64_t work_ = 0;  // of the list that is open
  StageRecording recording_;
  const WeightSlice* slice_ = nullptr;                    // in the ring, where a group's weights pass through it
  std::vector<std::pair<TensorIndex, Address>> passing_;  // its tensors: where their row 0 would lie
  const Op* pending_norm_ = nullptr;                      // recorded with the product that follows
  const Op* pending_rope_ = nullptr;                      // recorded with the attention that follows
  std::vector<const Op*> head_norms_;                     // likewise, of q and k
};

// The parameters of the pass, and the hidden state that came from another device, from host memory to the device.
void Recorder::begin_stage(const plan::Stage& stage) {
  const Place base = source_.place(region_of(scratch_, Staging::Host));
  CommandList& list = step(0);
  list.copy(moved(base, staging_.table), source_.place(region_of(scratch_, Staging::Table)), table_.total);
  if (region_of(scratch_, Own::Rope) != plan::kNoRegion) {
    const std::uint64_t half = std::uint64_t{source_.plan.shape.batch} * (shape_.rotary / 2) * sizeof(float);
    const Bytes used(std::uint64_t{most_} * (shape_.rotary / 2) * sizeof(float));
    const Place rope = source_.place(region_of(scratch_, Own::Rope));
    list.copy(moved(base, staging_.angles), rope, used);
    list.copy(moved(base, staging_.angles + Bytes(half)), moved(rope, Bytes(half)), used);
  }
  if (stage.first_group == 0) return;
  const model::Group& group = source_.program.groups[stage.first_group];
  for (const ValueId crossing : plan::crossing_values(group, stage.first_op)) {
    list.copy(staged(crossing), source_.place(scratch_.values[crossing]),
              crossing_bytes(crossing, group.ops.front().after_select));
  }
}

// What the next device or the host wants of it.
void Recorder::end_stage(const plan::Stage& stage) {
  if (pending_norm_ != nullptr) misplaced(*pending_norm_);
  if (pending_rope_ != nullptr) misplaced(*pending_rope_);
  if (!head_norms_.empty()) misplaced(*head_norms_.front());
  const std::uint32_t end = stage.first_group + stage.group_count;
  const Place base = source_.place(region_of(scratch_, Staging::Host));
  CommandList& list = step(0);
  if (end == source_.plan.groups.size() && stage.end_op == plan::kAllOps) {
    const ValueId logits = source_.program.logits;
    list.copy(source_.place(scratch_.values[logits]), moved(base, staging_.logits),
              Bytes(std::uint64_t{rows(true)} * width(logits) * sizeof(float)));
  } else {
    const bool inside = stage.end_op != plan::kAllOps;  // the next stage goes on in the same group
    const model::Group& next = source_.program.groups[inside ? end - 1 : end];
    for (const ValueId crossing : plan::crossing_values(next, inside ? stage.end_op : 0)) {
      list.copy(source_.place(scratch_.values[crossing]), staged(crossing),
                crossing_bytes(crossing, next.ops.front().after_select));
    }
  }
  list.barrier_to_host();
  list.end();
}

// The list that copies a slice into its slot, between the list that is open and the one that follows. It has no
// barrier: the slot's last user is done, since the list that is open began with one, and the next begins with one too.
void Recorder::bring(const WeightSlice& slice) {
  list().end();
  const std::size_t number = recording_.slices.size();
  const Bytes slot(source_.plan.regions[region_of(scratch_, Staging::Ring)].size.value / kRingSlots *
                   (number % kRingSlots));
  const Place from = moved(source_.place(region_of(scratch_, Staging::Host)), staging_.slots + slot);
  const Place to = moved(source_.place(region_of(scratch_, Staging::Ring)), slot);
  open_list();
  recording_.lists.back().slice = number;
  list().copy(from, to, slice.bytes);
  list().end();
  open_list();

  slice_ = &slice;
  passing_.clear();
  std::vector<backend::WeightSource::Rows>& fill = recording_.slices.emplace_back();
  for (const WeightSlice::Part& part : slice.parts) {
    const gguf::TensorInfo& t = info(part.tensor);
    const Bytes skipped = quant::size_of(t.type, t.columns()) * part.first_row;
    passing_.emplace_back(part.tensor, to.address + part.offset.value - skipped.value);
    fill.push_back({source_.plan.weights[static_cast<std::size_t>(part.tensor)], part.first_row, part.rows,
                    from.data + part.offset.value});
  }
}

// `ops`: those of the group that this stage runs.
void Recorder::record_through(const model::Group& group, std::span<const Op> ops) {
  const std::vector<WeightSlice> slices = weight_slices(source_.model, group, source_.plan.prompt.slice);
  const auto first = static_cast<std::uint32_t>(ops.data() - group.ops.data());
  std::uint32_t next = first;  // operation
  for (const WeightSlice& slice : slices) {
    if (slice.op < first || slice.op >= first + ops.size()) continue;
    bring(slice);
    for (; next < slice.op; ++next) record(group.ops[next]);  // the norm before it, which came with its first slice
    next = slice.op + 1;
    record(group.ops[slice.op]);
  }
  slice_ = nullptr;
  passing_.clear();
}

void Recorder::record(const Op& op) {
  switch (op.kind) {
    case OpKind::Embed: return embed(op);
    case OpKind::Norm: return norm(op);
    case OpKind::Linear: return products(op);
    case OpKind::GatedLinear: return gated(op);
    case OpKind::Rope: return pend(pending_rope_, op);
    case OpKind::Attention: return attention(op);
    case OpKind::SelectOutputs: {
      const SelectArguments arguments{value(op.inputs[0]), table(table_.outputs), table_address_, width(op.inputs[0])};
      operations_.select_rows(step(0), arguments);
      return;
    }
    default: misplaced(op);
  }
}

void Recorder::embed(const Op& op) {
  const plan::RegionIndex own = source_.plan.embedding_copy;
  const TensorIndex rows = op.as<ops::Embed>().table;
  const gguf::TensorInfo& t = info(rows);
  const EmbedArguments arguments{own != plan::kNoRegion ? region(own) : tensor(rows),
                                 table(table_.ids),
                                 value(op.outputs[0]),
                                 table_address_,
                                 static_cast<std::uint32_t>(t.columns()),
                                 static_cast<std::uint32_t>(quant::size_of(t.type, t.columns()).value)};
  operations_.embed(step(0), t.type, arguments, most_);
}

void Recorder::prepare(const Op& op, ProductArguments& arguments) {
  arguments.x = value(op.inputs[0]);
  if (pending_norm_ == nullptr) return;
  const Op& norm = *pending_norm_;
  if (norm.outputs[0] != op.inputs[0]) misplaced(norm);
  pending_norm_ = nullptr;
  const auto& [kind, epsilon, part, parts, offset, weight, bias, per_part] = norm.as<ops::Norm>();
  arguments.epsilon = epsilon;
  if (rows(op.after_select) == 1) {
    arguments.x = value(norm.inputs[0]);
    arguments.norm = tensor(weight);
    return;
  }
  const NormArguments separate{
      value(norm.inputs[0]),     tensor(weight), value(norm.outputs[0]), table_address_, width(norm.inputs[0]),
      op.after_select ? 1U : 0U, epsilon};
  operations_.rms_norm(step(0), separate, rows(op.after_select));
}

// In ranges of rows, and of tokens where that is not enough, so that the device does not go without looking up for
// long.
void Recorder::product(const ProductArguments& whole, quant::TensorType format, std::uint32_t most, bool beside) {
  constexpr std::uint64_t kTile = 64;  // of matmul.comp, both ways
  const std::uint64_t columns = std::uint64_t{whole.columns} * ((whole.flags & kGated) != 0 ? 2 : 1);
  const auto whole_tiles = [&](std::uint64_t count, std::uint64_t most_of_it) {
    return static_cast<std::uint32_t>(std::clamp(count / kTile * kTile, kTile, std::max(kTile, most_of_it)));
  };
  const std::uint64_t row_work = columns * (most + limit_.decode);
  const std::uint32_t rows_each = whole_tiles(limit_.most / row_work, std::uint64_t{1} << 30);
  std::uint32_t tokens_each = most;
  if (most > kTile && rows_each * row_work > limit_.most) {
    const std::uint64_t fitting = limit_.most / (kTile * columns);
    tokens_each = whole_tiles(fitting - std::min(fitting, limit_.decode), most);
  }
  bool first = true;
  for (std::uint32_t row = whole.first_row; row < whole.end_row; row += rows_each) {
    ProductArguments part = whole;
    part.first_row = row;
    part.end_row = std::min(whole.end_row, row + rows_each);
    for (std::uint32_t token = 0; token < most; token += tokens_each) {
      part.first_token = token;
      const std::uint32_t tokens = std::min(tokens_each, most - token);
      const std::uint64_t work = columns * (tokens + limit_.decode) * (part.end_row - row);
      operations_.product(step(work, beside || !first), format, part, tokens);
      first = false;
    }
  }
}

void Recorder::products(const Op& op) {
  ProductArguments arguments;
  prepare(op, arguments);
  arguments.table = table_address_;
  const auto& [parts, add] = op.as<ops::Linear>();
  arguments.flags = (add ? kAccumulate : 0) | (op.after_select ? kSelected : 0);
  bool beside = false;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (slice_ != nullptr && !is_passing(parts[i].tensor)) continue;  // its turn comes with another slice
    const gguf::TensorInfo& t = info(parts[i].tensor);
    arguments.weights = tensor(parts[i].tensor);
    arguments.bias = tensor(parts[i].bias);
    arguments.result = value(op.outputs[i]);
    arguments.result_stride = width(op.outputs[i]);
    arguments.columns = static_cast<std::uint32_t>(t.columns());
    arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(t.type, t.columns()).value);
    set_rows(arguments, t);
    product(arguments, t.type, rows(op.after_select), std::exchange(beside, true));
  }
}

void Recorder::gated(const Op& op) {
  const auto& parts = op.as<ops::GatedLinear>().parts;
  const gguf::TensorInfo& gate = info(parts[0].tensor);
  const gguf::TensorInfo& up = info(parts[1].tensor);
  ProductArguments arguments;
  prepare(op, arguments);
  arguments.table = table_address_;
  arguments.result = value(op.outputs[0]);
  arguments.result_stride = width(op.outputs[0]);
  arguments.columns = static_cast<std::uint32_t>(gate.columns());
  set_rows(arguments, gate);
  arguments.weights = tensor(parts[0].tensor);
  arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(gate.type, gate.columns()).value);
  const std::uint32_t selected = op.after_select ? kSelected : 0;
  if (gate.type == up.type) {
    arguments.second = tensor(parts[1].tensor);
    arguments.flags = kGated | selected;
    return product(arguments, gate.type, rows(op.after_select), false);
  }
  arguments.flags = selected;
  product(arguments, gate.type, rows(op.after_select), false);
  arguments.weights = tensor(parts[1].tensor);
  arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(up.type, up.columns()).value);
  arguments.flags = kActivatePrior | selected;
  product(arguments, up.type, rows(op.after_select), false);
}

void Recorder::attention(const Op& op) {
  const auto& attributes = op.as<ops::Attention>();
  const plan::KvRegions& cache = source_.plan.kv[attributes.cache];
  const plan::Shape& shape = source_.plan.shape;
  HeadsArguments heads;
  heads.q = value(op.inputs[0]);
  heads.k = value(op.inputs[1]);
  heads.v = value(op.inputs[2]);
  const ops::Norm* q_norm = take_head_norm(op.inputs[0]);
  const ops::Norm* k_norm = take_head_norm(op.inputs[1]);
  const bool even = q_norm == nullptr || (k_norm != nullptr && q_norm->part == attributes.head_dim_k &&
                                          k_norm->part == q_norm->part && k_norm->epsilon == q_norm->epsilon);
  if ((q_norm == nullptr) != (k_norm == nullptr) || !even) misplaced(op);
  if (pending_rope_ == nullptr || pending_rope_->inputs != std::vector{op.inputs[0], op.inputs[1]}) misplaced(op);
  pending_rope_ = nullptr;
  heads.q_norm = q_norm == nullptr ? 0 : tensor(q_norm->weight);
  heads.k_norm = k_norm == nullptr ? 0 : tensor(k_norm->weight);
  heads.k_cache = region(cache.k);
  heads.v_cache = region(cache.v);
  heads.angles = region(region_of(scratch_, Own::Rope));
  heads.tokens = table(table_.tokens);
  heads.pages = table(table_.pages);
  heads.table = table_address_;
  heads.sine_offset = shape.batch * (shape_.rotary / 2);
  heads.heads = attributes.heads;
  heads.kv_heads = attributes.kv_heads;
  heads.epsilon = q_norm == nullptr ? 0.0F : q_norm->epsilon;
  operations_.heads(step(0), shape_, heads, most_);

  const bool few = most_ <= kMostVectorRows;
  const std::uint32_t splits = few ? attention_splits(shape) : 1;
  const AttentionTile tile = operations_.attention_tile(shape_, most_);
  AttentionArguments arguments;
  arguments.q = heads.q;
  arguments.result = value(op.outputs[0]);
  arguments.k_cache = heads.k_cache;
  arguments.v_cache = heads.v_cache;
  arguments.tiles = table(table_.tiles);
  arguments.tokens = heads.tokens;
  arguments.pages = heads.pages;
  arguments.workspace = splits > 1 ? region(region_of(scratch_, Own::Attention)) : 0;
  arguments.table = table_address_;
  arguments.heads = attributes.heads;
  arguments.kv_heads = attributes.kv_heads;
  arguments.scale = attributes.scale;
  const std::uint32_t most_tiles = (most_ + tile.tokens - 1) / tile.tokens + std::min(shape.sequences, most_);
  // At worst every token sees all of the context.
  const std::uint64_t tile_work =
      std::uint64_t{tile.tokens} * shape.context * attributes.heads * (attributes.head_dim_k + attributes.head_dim_v);
  const auto tiles_each = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(limit_.most / tile_work, 1, most_tiles));
  for (std::uint32_t first = 0; first < most_tiles; first += tiles_each) {
    arguments.first_tile = first;
    const std::uint32_t tiles = std::min(tiles_each, most_tiles - first);
    operations_.attention(step(tile_work * tiles, first > 0), shape_, tile, splits, arguments, tiles);
  }
  if (splits == 1) return;
  const MergeArguments merge{arguments.workspace, arguments.result,      table_address_,
                             attributes.heads,    attributes.head_dim_v, splits};
  operations_.merge_attention(step(0), merge, most_);
}

}  // namespace

void require_supported(const model::Program& program) {
  model::require_supported(program, kKnown, "a GPU");
  model::require_uniform(program, "a GPU");
}

AttentionShape attention_shape(const model::Program& program, const plan::Shape& shape) {
  const model::ModelConfig& config = program.config;
  const model::RopeConfig& rope = program.ropes.front().config;
  return {config.heads, config.kv_heads, config.head_dim_k, config.head_dim_v,
          shape.k_type, shape.v_type,    rope.dimensions,   rope.neox};
}

StageRecording record_stage(Context& context, Pipelines& pipelines, const StageSource& source, const plan::Stage& stage,
                            std::uint32_t most) {
  Recorder recorder(context, pipelines, source, most);
  recorder.begin_stage(stage);
  for (std::uint32_t i = stage.first_group; i < stage.first_group + stage.group_count; ++i) {
    const std::span<const Op> ops = plan::stage_ops(source.program, stage, i);
    if (source.plan.groups[i].device != source.device) {
      recorder.record_through(source.program.groups[i], ops);
      continue;
    }
    for (const Op& op : ops) recorder.record(op);
  }
  recorder.end_stage(stage);
  return recorder.take();
}

}  // namespace loadline::vulkan
