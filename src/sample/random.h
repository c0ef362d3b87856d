// The project's random numbers for choosing tokens: specified to the bit, so that a seed means the same text
// everywhere. Not for secrets.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace loadline::sample {

// xoshiro256++ 1.0 by Blackman and Vigna (arXiv:1805.01407), its 256 bits of state filled by splitmix64 from the seed,
// as its authors recommend.
class Random {
 public:
  explicit Random(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {
      // splitmix64 (Steele, Lea and Flood, OOPSLA 2014; constants of Stafford's mix 13).
      seed += 0x9E3779B97F4A7C15U;
      word = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9U;
      word = (word ^ (word >> 27)) * 0x94D049BB133111EBU;
      word ^= word >> 31;
    }
  }
  // The generator in a given state, which must not be all zero.
  explicit Random(const std::array<std::uint64_t, 4>& state) : state_(state) {}

  std::uint64_t next() {
    const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // Uniform in [0, 1): a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  std::array<std::uint64_t, 4> state_;
};

}  // namespace loadline::sample
