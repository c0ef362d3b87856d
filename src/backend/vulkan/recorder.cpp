#include "backend/vulkan/recorder.h"

#include "backend/vulkan/lower.h"
#include "backend/vulkan/stage_recorder.h"
#include "plan/crossing.h"

namespace loadline::vulkan {

WorkLimit work_limit(const Context& context) {
  switch (context.info().kind) {
    case hardware::VulkanDeviceKind::Software: return {40'000'000, 16};
    case hardware::VulkanDeviceKind::Discrete: return {30'000'000'000, 0};
    default: return {3'000'000'000, 0};
  }
}

// The parameters of the pass, and the hidden state that came from another device, from host memory to the device.
void Recorder::begin_stage(const plan::Stage& stage) {
  const Place base = source_.place(region_of(scratch_, Staging::Host));
  CommandList& list = next(0);
  list.copy(moved(base, staging_.table), source_.place(region_of(scratch_, Staging::Table)), table_.total);
  if (region_of(scratch_, Own::Rope) != plan::kNoRegion) {
    const Place rope = source_.place(region_of(scratch_, Own::Rope));
    for (model::RopeIndex table = 0; table < source_.program.ropes.size(); ++table) {
      const Angles of = angles(table);
      if (of.pairs == 0) continue;
      const Bytes used(std::uint64_t{most_} * of.pairs * sizeof(float));
      for (const Bytes offset : {of.cosines, of.sines}) {
        list.copy(moved(base, staging_.angles + offset), moved(rope, offset), used);
      }
    }
  }
  if (stage.first_group == 0) return;
  const model::Group& group = source_.program.groups[stage.first_group];
  for (const ValueId crossing : plan::crossing_values(group, stage.first_op)) {
    list.copy(staged(crossing), source_.place(scratch_.values[crossing]),
              crossing_bytes(crossing, group.ops.front().after_select));
  }
  each_carried(&plan::CarriedCrossing::to, stage, [&](ValueId value, Bytes bytes) {
    list.copy(staged(value), source_.place(scratch_.values[value]), bytes);
  });
}

// What the next device or the host wants of it.
void Recorder::end_stage(const plan::Stage& stage) {
  const std::uint32_t end = stage.first_group + stage.group_count;
  const Place base = source_.place(region_of(scratch_, Staging::Host));
  CommandList& list = next(0);
  if (end == source_.plan.groups.size() && stage.end_op == plan::kAllOps) {
    const auto tell = [&](ValueId value, Bytes at) {
      list.copy(source_.place(scratch_.values[value]), moved(base, at),
                Bytes(std::uint64_t{rows(true)} * width(value) * sizeof(float)));
    };
    tell(source_.program.logits, staging_.logits);
    tell(source_.program.normed, staging_.states);
  } else {
    const bool inside = stage.end_op != plan::kAllOps;  // the next stage goes on in the same group
    const model::Group& next = source_.program.groups[inside ? end - 1 : end];
    for (const ValueId crossing : plan::crossing_values(next, inside ? stage.end_op : 0)) {
      list.copy(source_.place(scratch_.values[crossing]), staged(crossing),
                crossing_bytes(crossing, next.ops.front().after_select));
    }
  }
  each_carried(&plan::CarriedCrossing::from, stage, [&](ValueId value, Bytes bytes) {
    list.copy(source_.place(scratch_.values[value]), staged(value), bytes);
  });
  list.barrier_to_host();
  list.end();
}

// f(value, bytes) of what lives across groups and crosses at this end of the stage.
template <class Function>
void Recorder::each_carried(std::uint32_t plan::CarriedCrossing::* end, const plan::Stage& stage, Function&& f) {
  const std::vector<plan::Stage>& stages = source_.plan.stages;
  const auto index = static_cast<std::uint32_t>(&stage - stages.data());
  std::vector<ValueId> done;  // a value may go to several devices
  for (const plan::CarriedCrossing& crossing : plan::carried_crossings(source_.program, stages)) {
    if (crossing.*end != index || std::ranges::find(done, crossing.value) != done.end()) continue;
    done.push_back(crossing.value);
    const bool selected = source_.program.groups[stages[crossing.to].first_group].ops.front().after_select;
    f(crossing.value, crossing_bytes(crossing.value, selected));
  }
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

void Recorder::record_through(const model::Group& group, std::span<const Step> steps) {
  const std::vector<WeightSlice> slices = weight_slices(source_.model, group, source_.plan.prompt.slice);
  std::size_t done = 0;  // steps; the last of them may go on with another slice
  for (const WeightSlice& slice : slices) {
    if (steps.empty() || slice.op < steps.front().op || slice.op > steps.back().op) continue;
    bring(slice);
    for (; done < steps.size() && steps[done].op < slice.op; ++done) record(steps[done]);
    again_ = done > 0 && steps[done - 1].op == slice.op;
    if (!again_) ++done;
    record(steps[done - 1]);
    again_ = false;
  }
  slice_ = nullptr;
  passing_.clear();
}

void Recorder::record(const Step& step) {
  after_select_ = step.after_select;
  std::visit([&](const auto& what) { record(what); }, step.what);
}

ProductArguments Recorder::input_of(ValueId x, const recipe::FusedNorm& norm) {
  ProductArguments arguments;
  arguments.x = value(x);
  arguments.table = table_address_;
  if (!norm) return arguments;
  if (rows() == 1) {
    arguments.x = value(norm->x);
    arguments.norm = tensor(norm->attributes.weight);
    arguments.epsilon = norm->attributes.epsilon;
  } else if (!again_) {
    record(*norm);
  }
  return arguments;
}

void Recorder::set_matrix(ProductArguments& arguments, const ops::LinearPart& part) const {
  const gguf::TensorInfo& t = info(part.tensor);
  arguments.columns = static_cast<std::uint32_t>(t.columns());
  arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(t.type, t.columns()).value);
  arguments.weights = tensor(part.tensor) + part.first_row * arguments.row_bytes;
  arguments.bias = part.bias == model::kNoTensor ? 0 : tensor(part.bias) + part.first_row * sizeof(float);
  arguments.scale = tensor(part.scale);
  // The rows that are there now.
  arguments.first_row = slice_ == nullptr ? 0 : static_cast<std::uint32_t>(slice_->first_row);
  arguments.end_row = static_cast<std::uint32_t>(slice_ == nullptr ? part.rows : slice_->first_row + slice_->rows);
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
      operations_.product(next(work, beside || !first), format, part, tokens);
      first = false;
    }
  }
}

void Recorder::record(const recipe::Linear& linear) {
  ProductArguments arguments = input_of(linear.x, linear.norm);
  arguments.flags = (linear.accumulate ? kAccumulate : 0) | (after_select_ ? kSelected : 0);
  bool beside = false;
  for (std::size_t i = 0; i < linear.parts.size(); ++i) {
    const ops::LinearPart& part = linear.parts[i];
    if (slice_ != nullptr && !is_passing(part.tensor)) continue;  // its turn comes with another slice
    set_matrix(arguments, part);
    arguments.result = value(linear.outs[i]);
    arguments.result_stride = width(linear.outs[i]);
    product(arguments, info(part.tensor).type, rows(), std::exchange(beside, true));
  }
}

void Recorder::record(const recipe::Gated& gated) {
  const quant::TensorType format = info(gated.gate.tensor).type;
  const auto plain = [](const ops::LinearPart& part) {
    return part.bias == model::kNoTensor && part.scale == model::kNoTensor;
  };
  ProductArguments arguments = input_of(gated.x, gated.norm);
  arguments.result = value(gated.out);
  arguments.result_stride = width(gated.out);
  const std::uint32_t shared = after_select_ ? kSelected : 0;
  set_matrix(arguments, gated.up);
  const Address up = arguments.weights;
  set_matrix(arguments, gated.gate);
  if (format == info(gated.up.tensor).type && plain(gated.gate) && plain(gated.up)) {
    arguments.second = up;
    arguments.flags = kGated | shared | function_flag(gated.activation);
    return product(arguments, format, rows(), false);
  }
  arguments.flags = shared;
  product(arguments, format, rows(), false);
  set_matrix(arguments, gated.up);
  arguments.flags = kActivatePrior | shared | function_flag(gated.activation);
  product(arguments, info(gated.up.tensor).type, rows(), false);
}

void Recorder::record(const recipe::Attention& attention) {
  const AttentionShape shape =
      attention_shape(source_.program, source_.plan.shape, attention.attributes, attention.rope);
  heads(attention, shape);
  attend(attention, shape);
}

void Recorder::heads(const recipe::Attention& attention, const AttentionShape& shape) {
  const auto& attributes = attention.attributes;
  const plan::KvRegions& cache = source_.plan.kv[attributes.cache];
  HeadsArguments heads;
  heads.q = value(attention.q);
  heads.k = attention.k ? value(*attention.k) : 0;
  heads.v = attention.v ? value(*attention.v) : 0;
  heads.q_norm = tensor(attention.q_norm);
  heads.k_norm = tensor(attention.k_norm);
  heads.k_cache = region(cache.k);
  heads.v_cache = attributes.values_in_keys ? 0 : region(cache.v);
  if (attention.rope) {
    const Angles of = angles(*attention.rope);
    heads.angles = region(region_of(scratch_, Own::Rope)) + of.cosines.value;
    heads.sine_offset = static_cast<std::uint32_t>((of.sines - of.cosines).value / sizeof(float));
  }
  heads.tokens = table(table_.tokens);
  heads.pages = pages_of(attributes.cache);
  heads.table = table_address_;
  heads.heads = attributes.heads;
  heads.kv_heads = attributes.kv_heads;
  heads.epsilon = attention.epsilon;
  heads.k_heads = attention.k ? attributes.kv_heads : 0;
  heads.v_heads = attention.v ? attributes.kv_heads : 0;
  const bool nothing = heads.k_heads == 0 && heads.v_heads == 0 && heads.q_norm == 0 && !attention.rope;
  if (!nothing) operations_.heads(next(0), shape, heads, most_);
}

Address Recorder::pages_of(model::CacheIndex cache) const {
  const bool window = source_.program.caches[cache].kind == model::CacheKind::Window;
  return table(window ? table_.window_pages : table_.pages);
}

void Recorder::attend(const recipe::Attention& attention, const AttentionShape& of_heads) {
  const auto& attributes = attention.attributes;
  const plan::KvRegions& cache = source_.plan.kv[attributes.cache];
  const plan::Shape& shape = source_.plan.shape;
  const bool few = most_ <= kMostVectorRows;
  const std::uint32_t splits = few ? attention_splits(shape) : 1;
  AttentionTile tile = operations_.attention_tile(of_heads, most_);
  tile.tokens = tile_tokens(operations_, source_.program, shape, most_);
  AttentionArguments arguments;
  arguments.q = value(attention.q);
  arguments.result = value(attention.out);
  arguments.k_cache = region(cache.k);
  arguments.v_cache = attributes.values_in_keys ? arguments.k_cache : region(cache.v);
  arguments.tiles = table(table_.tiles);
  arguments.tokens = table(table_.tokens);
  arguments.pages = pages_of(attributes.cache);
  arguments.workspace = splits > 1 ? region(region_of(scratch_, Own::Attention)) : 0;
  arguments.table = table_address_;
  arguments.sinks = tensor(attributes.sinks);
  arguments.heads = attributes.heads;
  arguments.kv_heads = attributes.kv_heads;
  arguments.scale = attributes.scale;
  arguments.softcap = attributes.softcap;
  arguments.window = attributes.window;
  arguments.chunk = attributes.chunk;
  arguments.alibi = attributes.alibi;
  arguments.temperature = attributes.temperature.scale;
  arguments.temperature_length = attributes.temperature.length;
  arguments.temperature_ahead = attributes.temperature.ahead;
  const std::uint32_t most_tiles = (most_ + tile.tokens - 1) / tile.tokens + std::min(shape.sequences, most_);
  // At worst every token sees all of the context.
  const std::uint64_t tile_work =
      std::uint64_t{tile.tokens} * shape.context * attributes.heads * (attributes.head_dim_k + attributes.head_dim_v);
  const auto tiles_each = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(limit_.most / tile_work, 1, most_tiles));
  for (std::uint32_t first = 0; first < most_tiles; first += tiles_each) {
    arguments.first_tile = first;
    const std::uint32_t tiles = std::min(tiles_each, most_tiles - first);
    operations_.attention(next(tile_work * tiles, first > 0), of_heads, tile, splits, arguments, tiles);
  }
  if (splits == 1) return;
  const MergeArguments merge{arguments.workspace, arguments.result,      table_address_, arguments.sinks,
                             attributes.heads,    attributes.head_dim_v, splits};
  operations_.merge_attention(next(0), merge, most_);
}

AttentionShape attention_shape(const model::Program& program, const plan::Shape& shape,
                               const model::ops::Attention& attention, std::optional<model::RopeIndex> rope) {
  AttentionShape result{attention.heads,      attention.kv_heads,
                        attention.head_dim_k, attention.head_dim_v,
                        shape.k_type,         attention.values_in_keys ? shape.k_type : shape.v_type};
  if (rope) {
    result.rotary = program.ropes[*rope].config.dimensions;
    result.neox = program.ropes[*rope].config.neox;
  }
  result.value_row = attention.values_in_keys ? attention.head_dim_k : attention.head_dim_v;
  return result;
}

std::uint32_t tile_tokens(const Operations& operations, const model::Program& program, const plan::Shape& shape,
                          std::uint32_t most) {
  std::uint32_t fewest = most;
  for (const model::Group& group : program.groups) {
    for (const model::Op& op : group.ops) {
      if (op.kind != model::OpKind::Attention) continue;
      const AttentionShape of = attention_shape(program, shape, op.as<ops::Attention>(), std::nullopt);
      fewest = std::min(fewest, operations.attention_tile(of, most).tokens);
    }
  }
  return fewest;
}

StageRecording record_stage(Context& context, Pipelines& pipelines, const StageSource& source, const plan::Stage& stage,
                            std::uint32_t most) {
  Recorder recorder(context, pipelines, source, most);
  recorder.begin_stage(stage);
  const plan::LoweringTask task{source.model, source.program, source.plan.shape};
  for (std::uint32_t i = stage.first_group; i < stage.first_group + stage.group_count; ++i) {
    const model::Group& group = source.program.groups[i];
    const std::span<const model::Op> ops = plan::stage_ops(source.program, stage, i);
    plan::Part part{i};
    part.first_op = static_cast<std::uint32_t>(ops.data() - group.ops.data());
    part.end_op = part.first_op + static_cast<std::uint32_t>(ops.size());
    const Recipe recipe = lower(task, part);
    if (source.plan.groups[i].device != source.device) {
      recorder.record_through(group, recipe.steps);
      continue;
    }
    for (const Step& step : recipe.steps) recorder.record(step);
  }
  recorder.end_stage(stage);
  return recorder.take();
}

}  // namespace loadline::vulkan
