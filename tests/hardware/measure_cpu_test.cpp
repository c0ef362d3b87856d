#include "hardware/measure_cpu.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"

namespace loadline::hardware {
namespace {

// How large the figures are is the machine's affair; that every measurement ends and means something is ours.
TEST(MeasureCpu, every_instruction_set_has_a_peak) {
  const std::vector<std::string> sets = measurable_instruction_sets();
  ASSERT_FALSE(sets.empty());
  EXPECT_EQ(sets.front(), "scalar");
  for (const std::string& set : sets) {
    EXPECT_GT(measure_int8_peak(set, 2), 0) << set;
    EXPECT_GT(measure_float_peak(set, 1), 0) << set;
  }
}

TEST(MeasureCpu, read_bandwidth_takes_any_number_of_threads) {
  for (const unsigned threads : {1U, 3U}) EXPECT_GT(measure_read_bandwidth(threads, 16 * kMiB), 0);
}

TEST(MeasureCpu, memory_that_is_there_is_read_in_place) {
  const std::vector<std::byte> memory(std::size_t{3} << 20, std::byte{1});
  for (const unsigned threads : {1U, 3U}) EXPECT_GT(measure_read_bandwidth(threads, memory), 0);
  EXPECT_EQ(measure_read_bandwidth(2, std::span(memory).first(2047)), 0);  // less than 1 KiB each
}

// Twice as many threads as processors cannot have them all: that is what others on the machine look like.
TEST(MeasureCpu, tells_how_much_of_the_processors_it_had) {
  double share = 2;
  measure_int8_peak("scalar", 2 * std::thread::hardware_concurrency() + 1, &share);
  EXPECT_GT(share, 0);
  EXPECT_LT(share, 0.9);
  measure_read_bandwidth(2 * std::thread::hardware_concurrency() + 1, 256 * kMiB, &share);
  EXPECT_LT(share, 0.9);
}

TEST(MeasureCpu, an_unknown_instruction_set_is_refused) { EXPECT_THROW(measure_int8_peak("mmx", 1), Error); }

TEST(MeasureCpu, memory_that_cannot_be_had_is_refused) {
  EXPECT_THROW(measure_read_bandwidth(1, Bytes(std::uint64_t{1} << 60)), Error);
}

}  // namespace
}  // namespace loadline::hardware
