// What may be used of a tier, and what the process takes besides weights and caches, row by row: most are small beside
// a model, so that a plan's total does not show when one is missing.
#include "plan/budgets.h"

#include <gtest/gtest.h>

#include <map>

#include "plan/models.h"
#include "plan/runtime.h"

namespace loadline::plan {
namespace {

TEST(Headroom, IsAShareOfTheTierWithinBounds) {
  EXPECT_EQ(default_headroom(TierKind::Ram, 2 * kGiB, false), 256 * kMiB);
  EXPECT_EQ(default_headroom(TierKind::Ram, 20 * kGiB, false), kGiB);
  EXPECT_EQ(default_headroom(TierKind::Ram, 512 * kGiB, false), 2 * kGiB);
  EXPECT_EQ(default_headroom(TierKind::Gpu, 2 * kGiB, false), 128 * kMiB);
  EXPECT_EQ(default_headroom(TierKind::Gpu, 24 * kGiB, false), 512 * kMiB);
  EXPECT_EQ(default_headroom(TierKind::Disk, kGiB, false), Bytes(0));
}

// In a container nobody else takes anything.
TEST(Headroom, IsSmallerWithinALimitOfItsOwn) {
  EXPECT_EQ(default_headroom(TierKind::Ram, 100 * kMiB, true), 8 * kMiB);
  EXPECT_EQ(default_headroom(TierKind::Ram, 1000 * kMiB, true), 20 * kMiB);
  EXPECT_EQ(default_headroom(TierKind::Ram, 512 * kGiB, true), 256 * kMiB);
  hardware::Profile profile;
  profile.ram.total = 64 * kGiB;
  profile.ram.available = 1000 * kMiB;
  profile.ram.cgroup_limit = 1000 * kMiB;
  EXPECT_EQ(make_tiers(profile, {}).front().budget, 980 * kMiB);
  profile.ram.cgroup_limit.reset();
  EXPECT_EQ(make_tiers(profile, {}).front().budget, Bytes(0));  // 2 GiB are left to others
}

std::map<std::string, Bytes> runtime_rows(Bytes arenas, bool has_gpu, const Shape& shape) {
  const gguf::Model model = test::make_model(test::tiny(), test::all_of(quant::TensorType::Q8_0));
  std::map<std::string, Bytes> rows;
  for (const RuntimePart& part : runtime_parts(model, model::build_program(model), shape, arenas, has_gpu)) {
    rows[part.name] = part.size;
  }
  return rows;
}

Shape shape_of(std::uint32_t threads, std::uint32_t sequences) {
  Shape shape;
  shape.context = 2048;
  shape.batch = 512;
  shape.outputs = 1;
  shape.sequences = sequences;
  shape.threads = threads;
  return shape;
}

TEST(Runtime, HasARowForEachThingBesideTheArenas) {
  const auto rows = runtime_rows(kGiB, false, shape_of(4, 1));
  // A page of 4 KiB for every 2 MiB, and one more level above.
  EXPECT_EQ(rows.at("page tables"), 2 * kMiB + 4 * kKiB);
  EXPECT_EQ(rows.at("thread stacks"), 4 * 192 * kKiB);
  // Tokens, positions and angles of the batch: 64 dimensions of rope.
  EXPECT_EQ(rows.at("batch tables"), Bytes(512 * (16 + 64 * 4) + 64 * 1024));
  EXPECT_GT(rows.at("metadata"), Bytes(512));
  for (const char* row : {"code", "vocabulary", "sessions", "allocator slack"}) EXPECT_TRUE(rows.contains(row)) << row;
  EXPECT_EQ(rows.size(), 8U);
}

// Passes may go as two halves there, with a thread and tables for each.
TEST(Runtime, HasMoreOfThreadsAndTablesWithAGpu) {
  const auto alone = runtime_rows(kGiB, false, shape_of(4, 1));
  const auto beside = runtime_rows(kGiB, true, shape_of(4, 1));
  EXPECT_EQ(beside.at("thread stacks") - alone.at("thread stacks"), 192 * kKiB);
  EXPECT_EQ(beside.at("batch tables") - alone.at("batch tables"), Bytes(512 * (16 + 64 * 4)));
}

TEST(Runtime, CountsEverySessionAndEveryPage) {
  const auto one = runtime_rows(kGiB, false, shape_of(4, 1));
  const auto four = runtime_rows(kGiB, false, shape_of(4, 4));
  // Each has its state and a table of all pages.
  EXPECT_GE(four.at("sessions") - one.at("sessions"), 3 * kSession);
}

}  // namespace
}  // namespace loadline::plan
