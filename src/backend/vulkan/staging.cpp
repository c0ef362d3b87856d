#include "backend/vulkan/staging.h"

#include <algorithm>

#include "backend/vulkan/slices.h"
#include "plan/cache_pages.h"
#include "plan/crossing.h"
#include "quant/kv_page.h"
#include "quant/packed_codebooks.h"

namespace loadline::vulkan {
namespace {

using plan::Shape;

// While loading: four threads fill a quarter each.
constexpr Bytes kUpload = 32 * kMiB;
// Cells of a part of the attention at least, and the most parts.
constexpr std::uint32_t kPartCells = 256;
constexpr std::uint32_t kMostParts = 16;

// Hands out ranges one after the other, aligned as every device's buffer offsets may be.
class Ranges {
 public:
  Bytes take(std::uint64_t bytes) {
    const Bytes offset = end_;
    end_ = align_up(end_ + Bytes(bytes), Bytes(256));
    return offset;
  }
  [[nodiscard]] Bytes end() const { return end_; }

 private:
  Bytes end_;
};

Bytes value_bytes(const model::Program& program, const Shape& shape, model::ValueId value) {
  return align_up(Bytes(std::uint64_t{shape.batch} * program.values[value].width * sizeof(float)), Bytes(256));
}

bool is_carried(const model::Program& program, model::ValueId value) {
  return value != model::kHidden && program.values[value].carried;
}

// Of those that live across groups, all before `end`.
Bytes carried_bytes(const model::Program& program, const Shape& shape, model::ValueId end) {
  Bytes total;
  for (model::ValueId value = 0; value < end; ++value) {
    if (is_carried(program, value)) total += value_bytes(program, shape, value);
  }
  return total;
}

// Of all that crosses together, at its most.
Bytes crossing_bytes(const plan::LoweringTask& task, const plan::DeviceTask& device) {
  const model::Program& program = task.program;
  Bytes most = value_bytes(program, task.shape, model::kHidden);
  if (device.prompt == nullptr) return most;
  for (const std::uint32_t index : device.prompt->groups) {
    const model::Group& group = program.groups[index];
    const plan::OpRange stay = plan::cache_ops(group);
    if (stay.end == 0) continue;
    for (const std::uint32_t op : {stay.first, stay.end}) {
      Bytes total;
      for (const model::ValueId value : plan::crossing_values(group, op))
        total += value_bytes(program, task.shape, value);
      most = std::max(most, total);
    }
  }
  return most;
}

}  // namespace

Bytes staged_offset(const model::Program& program, const Shape& shape, model::ValueId value) {
  for (const model::Group& group : program.groups) {
    const plan::OpRange stay = plan::cache_ops(group);
    if (stay.end == 0) continue;
    // Every layer has the same values.
    Bytes offset;
    for (const model::ValueId input : group.ops[stay.end - 1].inputs) {
      if (input == value) return offset;
      offset += value_bytes(program, shape, input);
    }
    break;
  }
  return Bytes(0);
}

Bytes staged_place(const HostStaging& staging, const model::Program& program, const Shape& shape,
                   model::ValueId value) {
  if (!is_carried(program, value)) return staging.crossing + staged_offset(program, shape, value);
  return staging.carried + carried_bytes(program, shape, value);
}

bool groups_experts(const model::ops::Experts& experts, std::uint64_t rows) {
  constexpr std::uint64_t kWorthwhile = 4;  // tokens of an expert, on average
  return rows > kFewRows && rows * experts.used >= kWorthwhile * experts.experts;
}

ExpertRoom expert_room(const model::ops::Experts& experts, std::uint32_t hidden, std::uint32_t width,
                       std::uint64_t rows) {
  constexpr std::uint64_t kTile = 64;
  constexpr std::uint64_t kWord = 4;
  const std::uint64_t pairs = rows * experts.used;
  Ranges ranges;
  ExpertRoom room;
  room.hidden = ranges.take(pairs * hidden * sizeof(float));
  if (groups_experts(experts, rows)) {
    // Every expert's last one may have one pair alone.
    room.most_tiles = static_cast<std::uint32_t>(pairs / kTile + std::min<std::uint64_t>(experts.experts, pairs));
    room.results = ranges.take(pairs * width * sizeof(float));
    room.groups = ranges.take((4 + 3 * std::uint64_t{room.most_tiles} + 2 * pairs) * kWord);
  }
  room.total = ranges.end();
  return room;
}

PassTable pass_table(const model::Program& program, const Shape& shape) {
  constexpr std::uint64_t kWord = 4;
  const std::uint64_t batch = shape.batch;
  Ranges ranges;
  PassTable table;
  table.counts = ranges.take(4 * kWord);
  table.ids = ranges.take(batch * kWord);
  table.tokens = ranges.take(batch * 2 * kWord);
  table.outputs = ranges.take(shape.outputs * kWord);
  table.tiles = ranges.take((batch + shape.sequences) * kWord);
  table.runs = ranges.take(std::uint64_t{shape.sequences} * 5 * kWord);
  // Each sequence may have all of the context, since sequences that begin alike share pages.
  const std::uint64_t pages = std::uint64_t{shape.context} / quant::kKvPageCells * shape.sequences * kWord;
  table.pages = ranges.take(pages);
  table.window_pages = plan::has_window_pages(program, shape) ? ranges.take(pages) : table.pages;
  table.total = ranges.end();
  return table;
}

Angles angles_of(const model::Program& program, const Shape& shape, model::RopeIndex table) {
  Angles angles;
  for (model::RopeIndex i = 0; i <= table; ++i) {
    angles.pairs = program.ropes[i].config.dimensions / 2;
    const Bytes size(std::uint64_t{shape.batch} * angles.pairs * sizeof(float));
    angles.cosines = i == 0 ? Bytes(0) : angles.sines + (angles.sines - angles.cosines);
    angles.sines = angles.cosines + size;
  }
  return angles;
}

Bytes angle_bytes(const model::Program& program, const Shape& shape) {
  std::uint64_t values = 0;
  for (const model::RopeTable& table : program.ropes) values += table.config.dimensions;
  return Bytes(std::uint64_t{shape.batch} * values * sizeof(float));
}

plan::DeviceTask device_task(const plan::Plan& plan, plan::DeviceIndex device) {
  const bool prompts = plan.prompt.tokens > 0 && plan.prompt.device == device;
  return {plan.groups.back().device == device, prompts ? &plan.prompt : nullptr};
}

HostStaging host_staging(const plan::LoweringTask& task, const plan::DeviceTask& device) {
  const Shape& shape = task.shape;
  const model::Program& program = task.program;
  Ranges ranges;
  HostStaging staging;
  staging.crossing = ranges.take(crossing_bytes(task, device).value);
  staging.carried =
      ranges.take(carried_bytes(program, shape, static_cast<model::ValueId>(program.values.size())).value);
  staging.logits =
      ranges.take(device.makes_logits ? std::uint64_t{shape.outputs} * program.config.vocabulary * sizeof(float) : 0);
  const std::uint64_t width = program.values[program.normed].width;
  staging.states = ranges.take(device.makes_logits ? std::uint64_t{shape.outputs} * width * sizeof(float) : 0);
  staging.table = ranges.take(pass_table(program, shape).total.value);
  staging.angles = ranges.take(angle_bytes(program, shape).value);
  staging.slots = ranges.take(ring_bytes(task, device).value);
  staging.total = std::max(ranges.end(), kUpload);
  return staging;
}

Bytes codebook_bytes(const gguf::Model& model) {
  const bool any =
      std::ranges::any_of(model.tensors, [](const gguf::TensorInfo& t) { return quant::has_codebook(t.type); });
  return any ? Bytes(quant::kPackedCodebookEntries * sizeof(std::uint16_t)) : Bytes(0);
}

std::uint32_t attention_splits(const Shape& shape) { return std::clamp(shape.context / kPartCells, 1U, kMostParts); }

Bytes attention_workspace(const model::ops::Attention& attention, const Shape& shape) {
  const std::uint64_t splits = attention_splits(shape);
  if (splits == 1) return Bytes(0);
  // The weighted sum, the largest score and the sum of weights (attention.glsl).
  const std::uint64_t partial = (std::uint64_t{attention.head_dim_v} + 2) * sizeof(float);
  return Bytes(std::min(shape.batch, kFewRows) * splits * attention.heads * partial);
}

}  // namespace loadline::vulkan
