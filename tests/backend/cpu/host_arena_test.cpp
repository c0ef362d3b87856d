#include "backend/cpu/host_arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

namespace loadline::cpu {
namespace {

constexpr std::uint64_t kSize = 8 * HostArena::kStep + 5000;

TEST(HostArena, IsOnlyReservedAtFirst) {
  const HostArena arena(Bytes(kSize), false, "test");
  EXPECT_EQ(arena.held(), Bytes(0));
}

TEST(HostArena, HoldsWhatWasRequiredAndInTheEndExactlyItsSize) {
  for (const bool huge : {false, true}) {
    HostArena arena(Bytes(kSize), huge, "test");
    ASSERT_TRUE(arena.require(3 * HostArena::kStep + 1, 3 * HostArena::kStep + 2));
    EXPECT_GE(arena.held(), Bytes(HostArena::kStep));
    EXPECT_LT(arena.held(), Bytes(kSize));
    ASSERT_TRUE(arena.require(0, kSize));
    EXPECT_EQ(arena.held(), Bytes(align_up(kSize, 4096)));
  }
}

// What one thread wrote is not cleared by another that wants the same pages.
TEST(HostArena, ManyThreadsMayRequireTheSamePages) {
  for (unsigned round = 0; round < 3; ++round) {
    HostArena arena(Bytes(kSize), false, "test");
    constexpr unsigned kThreads = 4;
    constexpr std::uint64_t kPiece = HostArena::kStep / 3;
    std::vector<std::thread> team;
    for (unsigned t = 0; t < kThreads; ++t) {
      team.emplace_back([&arena, t] {
        for (std::uint64_t begin = t * kPiece; begin < kSize; begin += kThreads * kPiece) {
          const std::uint64_t end = std::min(begin + kPiece, kSize);
          ASSERT_TRUE(arena.require(begin, end));
          std::memset(arena.data() + begin, static_cast<int>(t + 1), end - begin);
        }
      });
    }
    for (std::thread& thread : team) thread.join();
    for (std::uint64_t i = 0; i < kSize; i += 512) {
      ASSERT_EQ(arena.data()[i], static_cast<std::byte>(i / kPiece % kThreads + 1)) << i;
    }
  }
}

TEST(HostArena, KeepsWhatIsInBothSizes) {
  for (const bool huge : {false, true}) {
    HostArena arena(Bytes(kSize), huge, "test");
    ASSERT_TRUE(arena.require(0, kSize));
    for (std::uint64_t i = 0; i < kSize; i += 512) arena.data()[i] = static_cast<std::byte>(i / 512 % 251);
    std::uint64_t least = kSize;
    for (const std::uint64_t size : {2 * kSize + 77, kSize / 2 + 12345, 3 * kSize, std::uint64_t{5000}, kSize}) {
      arena.resize(Bytes(size), huge, "test");
      least = std::min(least, size);
      ASSERT_EQ(arena.size(), Bytes(size));
      for (std::uint64_t i = 0; i < least; i += 512) ASSERT_EQ(arena.data()[i], static_cast<std::byte>(i / 512 % 251));
      ASSERT_TRUE(arena.require(0, size));
      EXPECT_EQ(arena.held(), Bytes(align_up(size, 4096)));
    }
  }
}

}  // namespace
}  // namespace loadline::cpu
