// The codebooks of the IQ formats: what an index stands for, as bytes. Byte j of an entry is the magnitude of value j
// (of IQ1_S and IQ1_M: the value plus 1). Signs and scales are the formats' affair (blocks.h).
#pragma once

#include <array>
#include <cstdint>

namespace loadline::quant {

extern const std::array<std::uint64_t, 256> kIq2XxsGrid;
extern const std::array<std::uint64_t, 512> kIq2XsGrid;
extern const std::array<std::uint64_t, 1024> kIq2SGrid;
extern const std::array<std::uint32_t, 256> kIq3XxsGrid;
extern const std::array<std::uint32_t, 512> kIq3SGrid;
extern const std::array<std::uint64_t, 2048> kIq1Grid;

// Byte j of an entry.
constexpr std::uint8_t grid_value(std::uint64_t entry, int j) { return static_cast<std::uint8_t>(entry >> (8 * j)); }

// The signs of eight values in the 7 bits that files have of them: an even number of the eight is negative.
constexpr std::uint8_t signs_of_seven(unsigned bits) {
  unsigned odd = bits ^ bits >> 4;
  odd ^= odd >> 2;
  odd ^= odd >> 1;
  return static_cast<std::uint8_t>(bits | (odd & 1U) << 7);
}

}  // namespace loadline::quant
