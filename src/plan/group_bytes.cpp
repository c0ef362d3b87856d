#include "plan/group_bytes.h"

#include "plan/layout.h"

namespace loadline::plan {

GroupBytes group_bytes(const NeedsTable& needs, DeviceIndex device, std::size_t group, bool kv_on_cpu) {
  const Needs& of_group = needs.of(device, group);
  GroupBytes bytes;
  for (const SlabNeed& slab : of_group.slabs) bytes.weights += align_up(slab.size, region_alignment(device));
  if (kv_on_cpu) return bytes;
  for (const CacheNeed& cache : of_group.caches) bytes.caches += cache.k + cache.v;
  return bytes;
}

Bytes layer_rounding(const model::Program& program, std::size_t group,
                     const std::function<GroupBytes(std::size_t)>& bytes_of) {
  const std::vector<model::Group>& groups = program.groups;
  if (group > 0 && share_arenas(groups[group - 1], groups[group])) return {};
  GroupBytes layer;
  for (std::size_t g = group; g < groups.size() && (g == group || share_arenas(groups[group], groups[g])); ++g) {
    const GroupBytes bytes = bytes_of(g);
    layer.weights += bytes.weights;
    layer.caches += bytes.caches;
  }
  Bytes rounding;
  for (const Bytes content : {layer.weights, layer.caches}) rounding += arena_size(TierKind::Gpu, content) - content;
  return rounding;
}

bool has_other_part(const model::Program& program, std::span<const DeviceIndex> assignment, std::size_t group,
                    DeviceIndex device) {
  const auto there = [&](std::size_t other) {
    return other < assignment.size() && assignment[other] == device &&
           share_arenas(program.groups[group], program.groups[other]);
  };
  return (group > 0 && there(group - 1)) || there(group + 1);
}

}  // namespace loadline::plan
