// Random weights made directly in their block formats: valid blocks of random quants under scales that give the values
// a wanted spread, at the speed of a disk. Nothing is encoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "quant/format.h"

namespace loadline::authoring {

// An endless sequence of random 64-bit words that the seed determines.
class RandomWords {
 public:
  explicit RandomWords(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    // Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014), "SplitMix64".
    std::uint64_t word = state_ += 0x9E3779B97F4A7C15U;
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9U;
    word = (word ^ word >> 27) * 0x94D049BB133111EBU;
    return word ^ word >> 31;
  }

 private:
  std::uint64_t state_;
};

// Fills `target`, a whole number of blocks, with random blocks whose values have mean 0 (nearly) and this standard
// deviation. The same words give the same bytes everywhere.
void fill_random_blocks(quant::TensorType type, float deviation, RandomWords& words, std::span<std::byte> target);

}  // namespace loadline::authoring
