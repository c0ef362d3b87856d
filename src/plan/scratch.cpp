#include "plan/scratch.h"

#include <algorithm>
#include <utility>

#include "plan/gpu_staging.h"
#include "plan/prompt_stream.h"
#include "plan/workspace.h"
#include "quant/attention_workspace.h"

namespace loadline::plan {
namespace {

constexpr Bytes kPage(4096);

// The tightest description of when a buffer is alive: one interval for each group that touches it, since only the
// hidden state lives across groups.
class Lifetimes {
 public:
  explicit Lifetimes(std::size_t values) : alive_(values) {}

  void touch(std::size_t value, std::uint32_t group_begin, std::uint32_t now) {
    std::vector<Interval>& intervals = alive_[value];
    if (!intervals.empty() && intervals.back().begin >= group_begin) {
      intervals.back().end = now;
    } else {
      intervals.push_back({now, now});
    }
  }
  std::vector<Interval> take(std::size_t value) { return std::move(alive_[value]); }

 private:
  std::vector<std::vector<Interval>> alive_;
};

struct Needs {
  Bytes activations, attention;
  std::vector<Interval> activations_alive, attention_alive;
  std::vector<std::uint64_t> rows;  // per value: the most rows any operation has
  bool rope = false;
};

void note_sizes(const gguf::Model& model, const model::Program& program, const Shape& shape, const model::Op& op,
                DeviceIndex device, Needs& needs) {
  const std::uint64_t rows = op.after_select ? shape.outputs : shape.batch;
  for (const auto* list : {&op.inputs, &op.outputs}) {
    for (const model::ValueId value : *list) {
      const bool outputs_only = program.values[value].outputs_only;
      needs.rows[value] = std::max(needs.rows[value], outputs_only ? std::uint64_t{shape.outputs} : rows);
    }
  }
  // A GPU multiplies with the activations as they are.
  if (device == kCpu) needs.activations = std::max(needs.activations, linear_workspace(op, model, shape).total);
  if (op.kind == model::OpKind::Attention) {
    const model::ModelConfig& config = program.config;
    needs.attention = device == kCpu
                          ? quant::attention_workspace(config.heads, config.head_dim_v, shape.batch, shape.context)
                          : gpu_attention_workspace(config, shape);
  }
  if (op.kind == model::OpKind::Rope) needs.rope = true;
}

void note_lifetimes(const model::Op& op, std::uint32_t now, Needs& needs) {
  using model::OpKind;
  if (op.kind == OpKind::Linear || op.kind == OpKind::GatedLinear) {
    needs.activations_alive.push_back({now, now});
  }
  // Until the next operation has begun: it may merge partial results while it prepares its input.
  if (op.kind == OpKind::Attention) needs.attention_alive.push_back({now, now + 1});
}

// Whether two groups use the same values in the same order, so that one's lifetimes stand for both.
bool same_structure(const model::Group& a, const model::Group& b) {
  return std::ranges::equal(a.ops, b.ops, [](const model::Op& x, const model::Op& y) {
    return x.kind == y.kind && x.inputs == y.inputs && x.outputs == y.outputs && x.after_select == y.after_select;
  });
}

}  // namespace

ScratchLayout scratch_layout(const gguf::Model& model, const model::Program& program, const Shape& shape,
                             const std::vector<Runs>& runs, DeviceIndex device, Bytes load_buffer) {
  Lifetimes lifetimes(program.values.size());
  Needs needs;
  needs.rows.assign(program.values.size(), 0);
  std::uint32_t now = 0;
  std::vector<std::pair<const model::Group*, Runs>> seen;
  for (std::size_t g = 0; g < program.groups.size(); ++g) {
    if (runs[g] == Runs::Nothing) continue;
    const model::Group& group = program.groups[g];
    const bool known = std::ranges::any_of(
        seen, [&](const auto& other) { return other.second == runs[g] && same_structure(*other.first, group); });
    if (!known) seen.emplace_back(&group, runs[g]);
    const OpRange left_out = runs[g] == Runs::All ? OpRange{0, 0} : cache_ops(group);
    const std::uint32_t group_begin = now;
    for (std::uint32_t i = 0; i < group.ops.size(); ++i) {
      const model::Op& op = group.ops[i];
      if (i >= left_out.first && i < left_out.end) continue;
      note_sizes(model, program, shape, op, device, needs);
      if (known) continue;
      note_lifetimes(op, now, needs);
      for (const model::ValueId value : op.inputs) lifetimes.touch(value, group_begin, now);
      for (const model::ValueId value : op.outputs) lifetimes.touch(value, group_begin, now);
      ++now;
    }
  }

  ScratchLayout layout;
  layout.values.assign(program.values.size(), -1);
  const auto add = [&](std::string name, Bytes size, std::vector<Interval> alive) {
    layout.buffers.push_back({std::move(name), size, std::move(alive)});
    return static_cast<std::int32_t>(layout.buffers.size() - 1);
  };
  for (std::size_t value = 0; value < program.values.size(); ++value) {
    if (needs.rows[value] == 0) continue;
    std::vector<Interval> alive = lifetimes.take(value);
    if (value == model::kHidden) alive = {{0, now}};
    if (value == program.logits) alive.back().end = now;  // read after the pass
    const Bytes size(needs.rows[value] * program.values[value].width * sizeof(float));
    layout.values[value] = add(program.values[value].name, size, std::move(alive));
  }
  if (needs.activations.value > 0) {
    layout.activations = add("activations", needs.activations, std::move(needs.activations_alive));
  }
  if (needs.attention.value > 0) {
    layout.attention = add("attention", needs.attention, std::move(needs.attention_alive));
  }
  if (needs.rope && device != kCpu) {
    const Bytes size(std::uint64_t{shape.batch} * program.ropes.front().config.dimensions * sizeof(float));
    layout.rope = add("rope", size, {{0, now}});
  }
  if (load_buffer.value > 0) layout.load_buffer = add("load buffer", load_buffer, {});
  layout.total = pack(layout.buffers, region_alignment(device));
  return layout;
}

Bytes load_buffer_bytes(const gguf::Model& model, std::uint32_t threads) {
  constexpr std::uint64_t kRowsTogether = 16;  // of the Rows16 layout
  std::uint64_t largest = 0;
  std::uint64_t rows_together = 0;
  for (const gguf::TensorInfo& tensor : model.tensors) {
    largest = std::max(largest, tensor.size.value);
    rows_together = std::max(rows_together, tensor.size.value / tensor.rows() * std::min(kRowsTogether, tensor.rows()));
  }
  // A direct read begins and ends on a page: up to one page more on each side.
  const auto whole = [](std::uint64_t bytes) { return align_up(Bytes(bytes), kPage) + kPage; };
  const Bytes part = std::max(whole(rows_together), std::min(whole(largest), kMiB));
  return part * load_buffer_parts(threads);
}

}  // namespace loadline::plan
