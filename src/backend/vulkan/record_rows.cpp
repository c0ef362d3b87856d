// Steps that work value by value, and the experts.
#include "backend/vulkan/stage_recorder.h"

namespace loadline::vulkan {

void Recorder::record(const recipe::Embed& embed) {
  const auto& [rows, by_position, add] = embed.attributes;
  // Of the table that the output matrix is, too; there may be others.
  const plan::RegionIndex copy = source_.plan.embedding_copy;
  const bool copied = copy != plan::kNoRegion && source_.plan.regions[copy].tensor == rows;
  const gguf::TensorInfo& t = info(rows);
  EmbedArguments arguments;
  arguments.weights = copied ? region(copy) : tensor(rows);
  arguments.ids = table(by_position ? table_.tokens : table_.ids);
  arguments.id_stride = by_position ? 2 : 1;
  arguments.result = value(embed.out);
  arguments.table = table_address_;
  arguments.columns = static_cast<std::uint32_t>(t.columns());
  arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(t.type, t.columns()).value);
  arguments.add = add ? 1 : 0;
  operations_.embed(next(0), t.type, arguments, most_);
}

void Recorder::record(const recipe::Select& select) {
  operations_.select_rows(next(0), {value(select.x), table(table_.outputs), table_address_, width(select.x)});
}

void Recorder::record(const recipe::Norm& norm) {
  const auto& of = norm.attributes;
  const NormArguments arguments{value(norm.x),
                                tensor(of.weight),
                                tensor(of.bias),
                                value(norm.out),
                                table_address_,
                                width(norm.x),
                                of.part,
                                of.offset,
                                selected(),
                                of.epsilon,
                                of.kind == ops::NormKind::Layer ? 1U : 0U,
                                of.weight_per_part ? 1U : 0U};
  operations_.norm(next(0), arguments, of.parts, rows());
}

void Recorder::record(const recipe::Rope& rope) {
  const auto& [table, head_dim, offset] = rope.attributes;
  const Angles of = angles(table);
  const Address base = region(region_of(scratch_, Own::Rope));
  const RopeArguments arguments{value(rope.x),
                                base + of.cosines.value,
                                table_address_,
                                static_cast<std::uint32_t>((of.sines - of.cosines).value / sizeof(float)),
                                of.pairs,
                                width(rope.x) / head_dim,
                                head_dim,
                                offset,
                                source_.program.ropes[table].config.neox ? 1U : 0U};
  operations_.rope(next(0), arguments, most_);
}

void Recorder::record(const recipe::Map& map) {
  MapArguments arguments;
  arguments.a = value(map.a);
  arguments.b = value(map.b);
  arguments.result = value(map.out);
  arguments.tensor = tensor(map.tensor);
  arguments.table = table_address_;
  arguments.columns = width(map.out);
  arguments.kind = static_cast<std::uint32_t>(map.kind);
  arguments.function = static_cast<std::uint32_t>(map.function);
  arguments.selected = selected();
  arguments.factor = map.factor;
  arguments.alpha_p = map.constants.alpha_p;
  arguments.alpha_n = map.constants.alpha_n;
  arguments.beta = map.constants.beta;
  arguments.epsilon = map.constants.epsilon;
  operations_.map(next(0), arguments, rows());
}

void Recorder::record(const recipe::Split& split) {
  const auto& [repeats, widths] = split.attributes;
  SplitArguments arguments{value(split.x), 0, table_address_, repeats, width(split.x) / repeats, 0, 0, selected()};
  for (std::size_t i = 0; i < widths.size(); ++i) {
    arguments.result = value(split.outs[i]);
    arguments.width = widths[i];
    operations_.split(next(0, i > 0), arguments, rows());
    arguments.first += widths[i];
  }
}

void Recorder::record(const recipe::Route& route) {
  const ops::Route& of = route.attributes;
  const RouteArguments arguments{value(route.logits),
                                 value(route.out),
                                 tensor(of.choice_bias),
                                 table_address_,
                                 of.experts,
                                 of.used,
                                 static_cast<std::uint32_t>(of.gating),
                                 of.groups,
                                 of.groups_used,
                                 of.normalize ? 1U : 0U,
                                 of.scale,
                                 selected()};
  operations_.route(next(0), arguments, rows());
}

void Recorder::record(const recipe::Experts& experts) {
  const ops::Experts& of = experts.attributes;
  if (groups_experts(of, rows())) return record_groups(experts);
  ExpertArguments arguments;
  arguments.x = value(experts.x);
  arguments.chosen = value(experts.chosen);
  arguments.result = region(region_of(scratch_, Own::Experts));  // ExpertRoom::hidden is its beginning
  arguments.table = table_address_;
  arguments.stride = experts.hidden;
  arguments.used = of.used;
  const std::uint32_t shared = (after_select_ ? kSelected : 0) | (of.weights_before ? kWeightBefore : 0);
  const std::uint32_t function = function_flag(of.activation);
  if (of.gate.tensor != model::kNoTensor) {
    arguments.flags = shared;
    expert_product(arguments, of.gate, of, false);
    arguments.flags = shared | kActivatePrior | function;
  } else {
    arguments.flags = shared | kActivate | function;
  }
  expert_product(arguments, of.up, of, false);
  arguments.x = arguments.result;
  arguments.result = value(experts.out);
  arguments.stride = width(experts.out);
  arguments.flags = shared | kOutOfExperts;
  expert_product(arguments, of.down, of, false);
}

// The tokens of an expert together: its weights are decoded once for up to 64 of them.
void Recorder::record_groups(const recipe::Experts& experts) {
  const ops::Experts& of = experts.attributes;
  const std::uint64_t most_rows = after_select_ ? source_.plan.shape.outputs : source_.plan.shape.batch;
  const ExpertRoom room = expert_room(of, experts.hidden, width(experts.out), most_rows);
  const Address base = region(region_of(scratch_, Own::Experts));
  const std::uint32_t tiles = expert_room(of, experts.hidden, width(experts.out), rows()).most_tiles;
  const Address groups = base + room.groups.value;
  operations_.group_experts(next(0),
                            {value(experts.chosen), groups, table_address_, of.experts, of.used, tiles, selected()});

  ProductArguments arguments;
  arguments.table = table_address_;
  arguments.groups = groups;
  arguments.used = of.used;
  arguments.x = value(experts.x);
  arguments.result = base + room.hidden.value;
  arguments.result_stride = experts.hidden;
  const std::uint32_t before = of.weights_before ? kWeightBefore : 0;
  const std::uint32_t function = function_flag(of.activation);
  const auto plain = [](const ops::ExpertPart& part) {
    return part.bias == model::kNoTensor && part.scale == model::kNoTensor;
  };
  if (of.gate.tensor == model::kNoTensor) {
    arguments.flags = before | kActivate | function;
    grouped_product(arguments, of.up, of, tiles);
  } else if (plain(of.gate) && plain(of.up) && before == 0 && info(of.gate.tensor).type == info(of.up.tensor).type &&
             info(of.gate.tensor).size == info(of.up.tensor).size) {
    arguments.flags = kGated | function;
    set_expert_matrix(arguments, of.up, of);
    arguments.second = arguments.weights;
    grouped_product(arguments, of.gate, of, tiles);
  } else {
    arguments.flags = before;
    grouped_product(arguments, of.gate, of, tiles);
    arguments.flags = before | kActivatePrior | function;
    grouped_product(arguments, of.up, of, tiles);
  }
  arguments.x = arguments.result;
  arguments.second = 0;
  arguments.result = base + room.results.value;
  arguments.result_stride = width(experts.out);
  arguments.flags = kOutOfExperts;
  grouped_product(arguments, of.down, of, tiles);
  operations_.sum_experts(next(0),
                          {arguments.result, value(experts.chosen), value(experts.out), table_address_,
                           width(experts.out), of.used, of.weights_before ? 0U : 1U, selected()},
                          rows());
}

void Recorder::set_expert_matrix(ProductArguments& arguments, const ops::ExpertPart& part,
                                 const ops::Experts& of) const {
  const gguf::TensorInfo& t = info(part.tensor);
  const std::uint64_t each = t.rows() / of.experts;
  const std::uint64_t first_row = part.whole ? 0 : part.first_row;
  arguments.columns = static_cast<std::uint32_t>(t.columns());
  arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(t.type, t.columns()).value);
  arguments.expert_bytes = each * arguments.row_bytes;
  arguments.weights = tensor(part.tensor) + first_row * arguments.row_bytes;
  arguments.bias = part.bias == model::kNoTensor ? 0 : tensor(part.bias) + first_row * sizeof(float);
  arguments.bias_stride = static_cast<std::uint32_t>(each);
  arguments.scale = tensor(part.scale);
  arguments.first_row = 0;
  arguments.end_row = static_cast<std::uint32_t>(part.whole ? each : part.rows);
}

// In ranges of rows and of tiles of tokens, like a product.
void Recorder::grouped_product(ProductArguments arguments, const ops::ExpertPart& part, const ops::Experts& of,
                               std::uint32_t tiles) {
  constexpr std::uint64_t kTile = 64;
  set_expert_matrix(arguments, part, of);
  const quant::TensorType format = info(part.tensor).type;
  const std::uint32_t end_row = arguments.end_row;
  const std::uint64_t row_work =
      arguments.columns * (kTile + limit_.decode) * ((arguments.flags & kGated) != 0 ? 2 : 1);  // of a tile
  const auto rows_each = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
      limit_.most / row_work / kTile * kTile, kTile, std::max<std::uint64_t>(kTile, end_row)));
  const std::uint64_t tile_work = row_work * std::min(rows_each, end_row);
  const auto tiles_each = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(limit_.most / tile_work, 1, tiles));
  bool first = true;
  for (std::uint32_t row = 0; row < end_row; row += rows_each) {
    arguments.first_row = row;
    arguments.end_row = std::min(end_row, row + rows_each);
    for (std::uint32_t tile = 0; tile < tiles; tile += tiles_each) {
      arguments.first_token = tile;
      const std::uint32_t count = std::min(tiles_each, tiles - tile);
      operations_.grouped_product(next(tile_work * count, !std::exchange(first, false)), format, arguments, count);
    }
  }
}

void Recorder::record(const recipe::HeadLinear& linear) {
  const ops::HeadLinear& of = linear.attributes;
  const gguf::TensorInfo& t = info(of.tensor);
  HeadLinearArguments arguments;
  arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(t.type, t.columns()).value);
  arguments.weights = tensor(of.tensor) + of.first_row * arguments.row_bytes;
  arguments.x = value(linear.x);
  arguments.result = value(linear.out);
  arguments.table = table_address_;
  arguments.inputs = of.columns;
  arguments.outputs = of.rows;
  arguments.copied = of.copied;
  arguments.heads = of.heads;
  arguments.head_rows = static_cast<std::uint32_t>(of.head_rows);
  arguments.selected = selected();
  const std::uint64_t work = std::uint64_t{rows()} * of.heads * of.columns * of.rows * (1 + limit_.decode);
  operations_.head_linear(next(work), t.type, of.transposed, arguments, rows());
}

// In ranges of rows, like a product.
void Recorder::expert_product(ExpertArguments arguments, const ops::ExpertPart& part, const ops::Experts& of,
                              bool beside) {
  const gguf::TensorInfo& t = info(part.tensor);
  const std::uint64_t each = t.rows() / of.experts;
  const auto end_row = static_cast<std::uint32_t>(part.whole ? each : part.rows);
  const std::uint64_t first_row = part.whole ? 0 : part.first_row;
  arguments.columns = static_cast<std::uint32_t>(t.columns());
  arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(t.type, t.columns()).value);
  arguments.expert_bytes = each * arguments.row_bytes;
  arguments.weights = tensor(part.tensor) + first_row * arguments.row_bytes;
  arguments.bias = part.bias == model::kNoTensor ? 0 : tensor(part.bias) + first_row * sizeof(float);
  arguments.bias_stride = static_cast<std::uint32_t>(each);
  arguments.scale = tensor(part.scale);
  const std::uint64_t row_work = std::uint64_t{rows()} * of.used * t.columns() * (1 + limit_.decode);
  const auto rows_each = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(limit_.most / row_work, 16, end_row));
  for (std::uint32_t row = 0; row < end_row; row += rows_each) {
    arguments.first_row = row;
    arguments.end_row = std::min(end_row, row + rows_each);
    const std::uint64_t work = row_work * (arguments.end_row - row);
    operations_.experts(next(work, beside || row > 0), t.type, arguments, rows());
  }
}

}  // namespace loadline::vulkan
