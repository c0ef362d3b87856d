#include "plan/soundness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "engine/backends.h"
#include "plan/json.h"
#include "plan/layout.h"
#include "plan/needs_table.h"
#include "plan/planner.h"
#include "plan/validate.h"

namespace loadline::test {
namespace {

using namespace plan;  // NOLINT: this file is about nothing else

void expect_sums(const Plan& plan) {
  constexpr std::array kPurposes = {Purpose::Weights, Purpose::KvCache, Purpose::Scratch, Purpose::Staging,
                                    Purpose::Runtime};
  for (std::uint32_t tier = 0; tier < plan.tiers.size(); ++tier) {
    Bytes sum;
    for (const Purpose purpose : kPurposes) sum += tier_total(plan, tier, purpose);
    EXPECT_EQ(sum, tier_total(plan, tier));
    if (plan.tiers[tier].kind == TierKind::Disk) {
      EXPECT_EQ(sum, Bytes(0)) << "nothing is allocated on a disk";
    } else {
      EXPECT_LE(sum, plan.tiers[tier].budget) << plan.tiers[tier].name;
      EXPECT_LE(plan.tiers[tier].budget + plan.tiers[tier].headroom,
                std::max(plan.tiers[tier].available, plan.tiers[tier].budget));
    }
  }
  // An arena is no larger than what lies in it, rounded up to its pages.
  std::vector<Bytes> ends(plan.arenas.size());
  for (const Region& region : plan.regions) {
    ends.at(region.arena) = std::max(ends[region.arena], region.offset + region.size);
  }
  for (std::size_t i = 0; i < plan.arenas.size(); ++i) {
    const Arena& arena = plan.arenas[i];
    if (arena.purpose == Purpose::Runtime) {
      EXPECT_EQ(arena.size, align_up(ends[i], Bytes(4096)));
    } else {
      EXPECT_EQ(arena.size, arena_size(plan.tiers[arena.tier].kind, ends[i]));
    }
  }
}

// Which turn of the stream a region belongs to.
std::map<RegionIndex, std::uint32_t> turns_of(const Plan& plan) {
  std::map<RegionIndex, std::uint32_t> turns;
  for (std::uint32_t i = 0; i < plan.stream.size(); ++i) {
    for (const model::TensorIndex tensor : plan.stream[i].tensors) {
      turns[plan.weights[static_cast<std::size_t>(tensor)]] = i;
    }
  }
  return turns;
}

void expect_apart(const Plan& plan) {
  const std::map<RegionIndex, std::uint32_t> turns = turns_of(plan);
  std::vector<RegionIndex> order(plan.regions.size());
  for (RegionIndex i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](RegionIndex i) { return std::pair(plan.regions[i].arena, plan.regions[i].offset); });
  for (std::size_t a = 0; a < order.size(); ++a) {
    const Region& one = plan.regions[order[a]];
    EXPECT_EQ(one.offset.value % region_alignment(plan.arenas[one.arena].tier).value, 0U) << one.name;
    EXPECT_LE(one.offset + one.size, plan.arenas[one.arena].size) << one.name;
    EXPECT_EQ(one.purpose, plan.arenas[one.arena].purpose) << one.name;
    if (one.purpose == Purpose::Scratch) continue;  // what lies over what there is validate's affair
    for (std::size_t b = a + 1; b < order.size(); ++b) {
      const Region& other = plan.regions[order[b]];
      if (other.arena != one.arena || other.offset >= one.offset + one.size) break;
      if (one.size.value == 0 || other.size.value == 0) continue;  // a model without a vocabulary has none to account
      const auto first = turns.find(order[a]);
      const auto second = turns.find(order[b]);
      const bool in_turn = first != turns.end() && second != turns.end() && first->second != second->second;
      EXPECT_TRUE(in_turn) << one.name << " and " << other.name << " lie over each other";
    }
  }
}

void expect_places(const PlanCase& given, const Plan& plan) {
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const model::Group& group = given.program.groups[g];
    const DeviceIndex device = plan.groups[g].device;
    for (const model::Op& op : group.ops) {
      for (const auto& [tensor, role] : op.tensors) {
        const RegionIndex region = plan.weights.at(static_cast<std::size_t>(tensor));
        if (op.kind == model::OpKind::Embed) continue;  // may be on disk, or a copy
        ASSERT_NE(region, kNoRegion) << given.model.tensors[static_cast<std::size_t>(tensor)].name;
        EXPECT_EQ(plan.arenas[plan.regions[region].arena].tier, device) << plan.regions[region].name;
      }
      if (op.kind != model::OpKind::Attention) continue;
      const RegionIndex k = plan.kv.at(op.as<model::ops::Attention>().cache).k;
      ASSERT_NE(k, kNoRegion);
      EXPECT_EQ(plan.arenas[plan.regions[k].arena].tier, plan.groups[g].kv_on_cpu ? kCpu : device);
    }
  }
}

}  // namespace

void expect_sound(const PlanCase& given, const Plan& plan) {
  expect_sums(plan);
  expect_apart(plan);
  expect_places(given, plan);
  EXPECT_TRUE(try_plan(given.model, given.program, given.profile, given.options, engine::backends()).plan == plan)
      << "not deterministic";
  const std::string text = to_json(given.model, given.program, plan);
  Plan read = plan_from_json(text, "a test");
  EXPECT_NO_THROW(validate(read, given.model, given.program, engine::backends(), "a test"));
  EXPECT_TRUE(read == plan) << "what is read is not what was written";
  EXPECT_EQ(to_json(given.model, given.program, read), text);
}

}  // namespace loadline::test
