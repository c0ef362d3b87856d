// What a GPU can do is measured before anything is planned for it. How large the figures are is the device's affair.
#include "backend/vulkan/measure.h"

#include <algorithm>

#include "backend/vulkan/context_cost.h"
#include "backend/vulkan/gpu.h"
#include "support/refusal.h"

namespace loadline::vulkan::test {
namespace {

class Measure : public testing::Test {
 protected:
  void SetUp() override {
    if (!no_gpu().empty()) GTEST_SKIP() << no_gpu();
  }
  void TearDown() override { EXPECT_EQ(messages_.take(), std::vector<std::string>()); }
  // As little memory as there must be: the driver is slow.
  DeviceOptions options() {
    DeviceOptions options = options_for_tests(messages_);
    options.largest_allocation = std::uint64_t{64} << 20;
    return options;
  }

 private:
  Messages messages_;
};

TEST_F(Measure, gives_every_figure_and_says_how_far_it_is) {
  std::vector<double> done;
  const DevicePeaks found = measure_device(options(), [&](std::string_view, double share) { done.push_back(share); });
  EXPECT_GT(found.peaks.read_bandwidth, 0);
  EXPECT_GT(found.peaks.float_ops, 0);
  EXPECT_GT(found.host_bandwidth, 0);
  EXPECT_TRUE(std::ranges::is_sorted(done));
  ASSERT_FALSE(done.empty());
  EXPECT_EQ(done.back(), 1);
}

TEST_F(Measure, knows_what_a_context_costs) {
  DeviceOptions told = options();
  EXPECT_GT(measure_context(told).host, Bytes(0));
  int asked = 0;
  told.free_memory = [&] { return asked++ == 0 ? kGiB : kGiB - 77 * kMiB; };
  EXPECT_EQ(measure_context(told).device, 77 * kMiB);
  told.free_memory = [] { return std::optional<Bytes>(); };
  EXPECT_EQ(measure_context(told).device, std::nullopt);
}

TEST_F(Measure, fails_with_a_sentence_and_leaves_nothing_behind) {
  for (const Call failing : {Call::CreateDevice, Call::AllocateMemory, Call::MapMemory, Call::Submit, Call::Wait}) {
    DeviceOptions faulty = options();
    faulty.fault = [&](Call call) { return call == failing ? VK_ERROR_DEVICE_LOST : VK_SUCCESS; };
    loadline::test::refusal([&] { return measure_device(faulty); }, ErrorCode::DeviceFailure);
  }
}

TEST_F(Measure, refuses_where_there_is_too_little_memory) {
  DeviceOptions small = options();
  small.largest_allocation = 1 << 20;
  EXPECT_THAT(loadline::test::refusal([&] { return measure_device(small); }, ErrorCode::DoesNotFit).sentence,
              testing::HasSubstr("too little memory"));
}

TEST_F(Measure, ends_where_nobody_wants_it_any_more) {
  struct Enough {};
  EXPECT_THROW(measure_device(options(), [](std::string_view, double) { throw Enough(); }), Enough);
}

}  // namespace
}  // namespace loadline::vulkan::test
