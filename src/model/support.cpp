#include "model/support.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace loadline::model {
namespace {

[[noreturn]] void refuse(const Program& program, std::string_view who, std::string_view what) {
  throw bad_input(
      fmt::format("models of the family \"{}\" cannot run on {} yet: {}", program.config.architecture, who, what));
}

bool alike(const Cache& a, const Cache& b) {
  return a.kind == b.kind && a.kv_heads == b.kv_heads && a.head_dim_k == b.head_dim_k && a.head_dim_v == b.head_dim_v;
}

}  // namespace

void require_supported(const Program& program, std::span<const Support> known, std::string_view who) {
  for (const Group& group : program.groups) {
    for (const Op& op : group.ops) {
      const auto row = std::ranges::find(known, op.kind, &Support::kind);
      if (row == known.end()) {
        refuse(program, who, fmt::format("{} has the operation {}", group.name(), name_of(op.kind)));
      }
      for (const std::string_view attribute : op.used_attributes()) {
        if (std::ranges::find(row->attributes, attribute) == row->attributes.end()) {
          refuse(program, who,
                 fmt::format("{} has the operation {} with {}", group.name(), name_of(op.kind), attribute));
        }
      }
    }
  }
}

void require_uniform(const Program& program, std::string_view who) {
  for (const Value& value : program.values) {
    if (value.carried && &value != program.values.data()) {
      refuse(program, who, fmt::format("the value \"{}\" lives across groups", value.name));
    }
  }
  if (program.ropes.size() != 1) refuse(program, who, fmt::format("it has {} rope tables", program.ropes.size()));
  if (program.ropes.front().long_factors != kNoTensor) refuse(program, who, "its rope has two tensors of factors");
  if (program.caches.size() != program.config.layers) {
    refuse(program, who, fmt::format("{} of its {} layers have a cache", program.caches.size(), program.config.layers));
  }
  for (const Cache& cache : program.caches) {
    if (cache.kind != CacheKind::Full) {
      refuse(program, who, fmt::format("layer {} has a cache of the kind {}", cache.layer, name_of(cache.kind)));
    }
    if (!alike(cache, program.caches.front())) {
      refuse(program, who, fmt::format("the cache of layer {} has another shape than the first", cache.layer));
    }
  }
}

}  // namespace loadline::model
