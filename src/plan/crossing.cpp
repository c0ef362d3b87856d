#include "plan/crossing.h"

namespace loadline::plan {

using model::OpKind;

OpRange cache_ops(const model::Group& group) {
  OpRange range{0, 0};
  for (std::uint32_t i = 0; i < group.ops.size(); ++i) {
    if (group.ops[i].kind == OpKind::Linear && range.end == 0) range.first = i + 1;
    if (group.ops[i].kind == OpKind::Attention) range.end = i + 1;
  }
  return range.end == 0 ? OpRange{0, 0} : range;
}

std::span<const model::ValueId> crossing_values(const model::Group& group, std::uint32_t op) {
  static constexpr model::ValueId kWhole[] = {model::kHidden};
  const OpRange stay = cache_ops(group);
  if (op == 0 || stay.end == 0) return kWhole;
  const model::Op& attention = group.ops[stay.end - 1];
  return op < stay.end ? attention.inputs : attention.outputs;
}

}  // namespace loadline::plan
