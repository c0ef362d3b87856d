#include "support/allocations.h"

#include <gtest/gtest.h>

#include <memory>
#include <new>
#include <string>
#include <vector>

namespace loadline::test {
namespace {

TEST(AllocationWatch, CountsAllocationsAndThePeakOfLiveBytes) {
  const AllocationWatch watch;
  EXPECT_EQ(watch.count(), 0U);
  {
    const std::vector<char> first(1000);
  }
  {
    const std::vector<char> second(3000);
  }
  {
    const std::vector<char> third(2000);
  }
  EXPECT_EQ(watch.count(), 3U);
  EXPECT_GE(watch.peak(), Bytes(3000));
  EXPECT_LT(watch.peak(), Bytes(3500));
}

TEST(AllocationWatch, SeesArraysAndAlignedMemory) {
  struct alignas(256) Line {
    char bytes[256];
  };
  const AllocationWatch watch;
  {
    const auto lines = std::make_unique<Line[]>(4);
  }
  EXPECT_EQ(watch.count(), 1U);
  EXPECT_GE(watch.peak(), Bytes(1024));
}

TEST(AllocationWatch, SeesTheFormThatDoesNotThrow) {
  const AllocationWatch watch;
  const std::unique_ptr<int> number(new (std::nothrow) int(1));
  EXPECT_EQ(watch.count(), 1U);
  EXPECT_EQ(new (std::nothrow) char[kLargestAllocation.value + 1], nullptr);
}

TEST(AllocationWatch, RefusesEnormousRequests) {
  std::vector<char> bytes;
  EXPECT_THROW(bytes.resize(kLargestAllocation.value + 1), std::bad_alloc);
}

}  // namespace
}  // namespace loadline::test
