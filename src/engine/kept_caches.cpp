#include "engine/kept_caches.h"

#include <algorithm>

namespace loadline::engine {
namespace {

bool lies_alike(const plan::Plan& before, plan::RegionIndex one, const plan::Plan& after, plan::RegionIndex other) {
  if (one == plan::kNoRegion || other == plan::kNoRegion) return one == other;
  const plan::Region& a = before.regions[one];
  const plan::Region& b = after.regions[other];
  const plan::Arena& from = before.arenas[a.arena];
  const plan::Arena& to = after.arenas[b.arena];
  return a.name == b.name && a.offset == b.offset && a.size == b.size && from == to && from.tier == plan::kCpu;
}

}  // namespace

bool caches_stay(const plan::Plan& before, const plan::Plan& after) {
  const plan::Shape& one = before.shape;
  const plan::Shape& other = after.shape;
  if (before.model_fingerprint != after.model_fingerprint) return false;
  if (one.context != other.context || one.sequences != other.sequences) return false;
  if (one.k_type != other.k_type || one.v_type != other.v_type) return false;
  return std::ranges::equal(before.kv, after.kv, [&](const plan::KvRegions& a, const plan::KvRegions& b) {
    return a.device == plan::kCpu && b.device == plan::kCpu && a.pages == b.pages &&
           lies_alike(before, a.k, after, b.k) && lies_alike(before, a.v, after, b.v);
  });
}

Bytes cache_bytes(const plan::Plan& plan) {
  Bytes bytes;
  for (std::uint32_t tier = 0; tier < plan.scratch.size(); ++tier) {
    bytes += plan::tier_total(plan, tier, plan::Purpose::KvCache);
  }
  return bytes;
}

}  // namespace loadline::engine
