// The random numbers of the sampler: the same sequence for a seed on every machine and with every compiler.
#pragma once

#include <cstdint>

namespace loadline::sample {

// PCG32 (O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms", 2014): a 64-bit
// linear congruential generator whose output is xor-shifted and rotated.
class Random {
 public:
  explicit Random(std::uint64_t seed) {
    next();
    state_ += seed;
    next();
  }

  std::uint32_t next() {
    const std::uint64_t old = state_;
    state_ = old * 6364136223846793005ULL + kIncrement;
    const auto shifted = static_cast<std::uint32_t>(((old >> 18U) ^ old) >> 27U);
    const auto turn = static_cast<std::uint32_t>(old >> 59U);
    return (shifted >> turn) | (shifted << ((32 - turn) & 31U));
  }

  // Uniform in [0, 1), with 53 random bits.
  double uniform() {
    const std::uint64_t high = next() >> 5U;
    const std::uint64_t low = next() >> 6U;
    return static_cast<double>(high * 67108864 + low) * 0x1p-53;
  }

 private:
  static constexpr std::uint64_t kIncrement = 1442695040888963407ULL;  // odd: one of the 2^63 streams
  std::uint64_t state_ = 0;
};

}  // namespace loadline::sample
