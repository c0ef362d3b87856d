#include "plan/liveness.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

namespace loadline::plan {
namespace {

bool overlap(const Buffer& a, const Buffer& b) { return a.offset < b.offset + b.size && b.offset < a.offset + a.size; }

TEST(Liveness, buffers_that_are_never_alive_together_share_bytes) {
  std::vector<Buffer> buffers = {{"a", Bytes(1024), {{0, 1}}}, {"b", Bytes(1024), {{2, 3}}}};
  EXPECT_EQ(pack(buffers, Bytes(64)), Bytes(1024));
  EXPECT_EQ(buffers[0].offset, buffers[1].offset);
}

TEST(Liveness, a_buffer_used_in_two_places_leaves_the_gap_between_them_to_others) {
  std::vector<Buffer> buffers = {{"a", Bytes(128), {{0, 1}, {4, 5}}}, {"b", Bytes(128), {{2, 3}}}};
  EXPECT_FALSE(alive_together(buffers[0], buffers[1]));
  EXPECT_EQ(pack(buffers, Bytes(64)), Bytes(128));
}

TEST(Liveness, an_operation_s_input_and_output_do_not_overlap) {
  std::vector<Buffer> buffers = {{"in", Bytes(100), {{0, 1}}}, {"out", Bytes(100), {{1, 2}}}};
  EXPECT_EQ(pack(buffers, Bytes(64)), Bytes(228));  // 100, rounded up to 128, and 100
}

TEST(Liveness, any_buffers_are_packed_without_overlap_aligned_and_below_their_sum) {
  EXPECT_TRUE(rc::check([] {
    std::vector<Buffer> buffers;
    const int count = *rc::gen::inRange(1, 9);
    for (int i = 0; i < count; ++i) {
      Buffer buffer{"b", Bytes(*rc::gen::inRange<std::uint64_t>(1, 5000)), {}};
      std::uint32_t now = *rc::gen::inRange(0U, 5U);
      const int intervals = *rc::gen::inRange(0, 3);
      for (int k = 0; k < intervals; ++k) {
        const std::uint32_t end = now + *rc::gen::inRange(0U, 4U);
        buffer.alive.push_back({now, end});
        now = end + 1 + *rc::gen::inRange(0U, 3U);
      }
      buffers.push_back(std::move(buffer));
    }
    const Bytes end = pack(buffers, Bytes(64));
    Bytes sum;
    Bytes last;
    for (std::size_t a = 0; a < buffers.size(); ++a) {
      RC_ASSERT(buffers[a].offset.value % 64 == 0);
      sum += align_up(buffers[a].size, Bytes(64));
      last = std::max(last, buffers[a].offset + buffers[a].size);
      for (std::size_t b = 0; b < a; ++b) {
        if (alive_together(buffers[a], buffers[b])) RC_ASSERT(!overlap(buffers[a], buffers[b]));
      }
    }
    RC_ASSERT(end == last);
    RC_ASSERT(end <= sum);
  }));
}

}  // namespace
}  // namespace loadline::plan
