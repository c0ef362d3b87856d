// The codebooks of the IQ formats: what an index stands for, as bytes. Byte j of an entry is the magnitude of value j
// (of IQ1_S and IQ1_M: the value plus 1). Signs and scales are the formats' affair (blocks.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace loadline::quant {

extern const std::array<std::uint64_t, 256> kIq2XxsGrid;
extern const std::array<std::uint64_t, 512> kIq2XsGrid;
extern const std::array<std::uint64_t, 1024> kIq2SGrid;
extern const std::array<std::uint32_t, 256> kIq3XxsGrid;
extern const std::array<std::uint32_t, 512> kIq3SGrid;
extern const std::array<std::uint64_t, 2048> kIq1Grid;

// The same entries in 16 bits each, apart in two tables of bytes, for processors that look bytes up in registers: the
// code of value j has 16 / (values of an entry) bits, from the lowest of `low` on. What a code stands for comes again
// and again: of the six bits of an index the lowest, as many as codes have, count. `signed_levels` has 128 more, and
// less the magnitude where the index has bit 2, 3, 4 or 5, one that is not the code's.
template <std::size_t count>
struct alignas(64) CodeBytes {  // a load of a vector that lies in two lines takes twice as long
  std::array<std::uint8_t, count> low, high;
  std::array<std::uint8_t, 64> levels;
  std::array<std::array<std::uint8_t, 64>, 4> signed_levels;
};
extern const CodeBytes<256> kIq2XxsCodes;
extern const CodeBytes<512> kIq2XsCodes;
extern const CodeBytes<1024> kIq2SCodes;
extern const CodeBytes<256> kIq3XxsCodes;
extern const CodeBytes<512> kIq3SCodes;
extern const CodeBytes<2048> kIq1Codes;

// The five digits of base 3 that a byte of TQ1_0 has (blocks.h), two bits each: four from the lowest bits of `low` on,
// the fifth in `high`.
struct alignas(64) TernaryDigits {
  std::array<std::uint8_t, 256> low, high;
};
extern const TernaryDigits kTernaryDigits;

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
