// Weights of 3 bits in units that unpack with little work. In the file of Q3_K two bits of a weight lie in one field
// and the third in another, so that each costs two shifts; in a tile (layout.h) most come by a mask alone. Nothing is
// lost: the bits of a block change places.
//
// A "quad" is 4 consecutive weights of a row, one in each byte of a 4-byte unit; 256 weights are 64 quads. In the file
// quad v = 32 * half + 8 * j + u has its low bits in bits 2 j and 2 j + 1 of unit 8 * half + u of the field `qs`, and
// its high bit in bit 4 * half + j of unit u of `hmask`. In the tile every half has twelve units, three after three:
//   of triple t, unit k          bits 0..2 are quad 3 t + k, bits 3..5 quad 12 + 3 t + k of the half
//   bits 6 and 7 of its units    quad 24 + t: bits 6 and 7 of the last, bit 6 of the second
//                                quad 28 + t: bit 7 of the second, bits 6 and 7 of the first
// (Of each quad, the lowest bit first.)
#pragma once

#include <cstdint>

namespace loadline::cpu {

constexpr std::uint32_t kHighBitUnits = 8;  // of `hmask`, with which a block of Q3_K begins
constexpr std::uint32_t kThreeBitUnits = 24;

constexpr std::uint32_t every_byte(std::uint32_t byte) { return byte * 0x01010101; }

// From the file's units to the tile's. Word is 4 bytes of a row, or a vector of them of several rows.
template <class Word>
void join_three_bits(const Word (&file)[kThreeBitUnits], Word (&tile)[kThreeBitUnits]) {
  const auto quad = [&](std::uint32_t half, std::uint32_t v) {
    const Word low = file[kHighBitUnits + 8 * half + v % 8] >> (2 * (v / 8)) & every_byte(3);
    const Word high = file[v % 8] >> (4 * half + v / 8) & every_byte(1);
    return low | high << 2;
  };
  for (std::uint32_t half = 0; half < 2; ++half) {
    for (std::uint32_t t = 0; t < 4; ++t) {
      const Word first = quad(half, 24 + t);
      const Word second = quad(half, 28 + t);
      const Word rest[] = {second >> 1 & every_byte(3), (first >> 2 & every_byte(1)) | (second & every_byte(1)) << 1,
                           first & every_byte(3)};
      for (std::uint32_t k = 0; k < 3; ++k) {
        const std::uint32_t unit = 3 * t + k;
        tile[12 * half + unit] = quad(half, unit) | quad(half, 12 + unit) << 3 | rest[k] << 6;
      }
    }
  }
}

// The way back.
template <class Word>
void split_three_bits(const Word (&tile)[kThreeBitUnits], Word (&file)[kThreeBitUnits]) {
  for (Word& unit : file) unit = Word{};
  for (std::uint32_t half = 0; half < 2; ++half) {
    const auto put = [&](std::uint32_t v, Word quad) {
      file[kHighBitUnits + 8 * half + v % 8] |= (quad & every_byte(3)) << (2 * (v / 8));
      file[v % 8] |= (quad >> 2 & every_byte(1)) << (4 * half + v / 8);
    };
    for (std::uint32_t t = 0; t < 4; ++t) {
      const Word* units = tile + 12 * half + 3 * t;
      for (std::uint32_t k = 0; k < 3; ++k) {
        put(3 * t + k, units[k] & every_byte(7));
        put(12 + 3 * t + k, units[k] >> 3 & every_byte(7));
      }
      put(24 + t, (units[2] >> 6 & every_byte(3)) | (units[1] >> 6 & every_byte(1)) << 2);
      put(28 + t, (units[1] >> 7 & every_byte(1)) | (units[0] >> 6 & every_byte(3)) << 1);
    }
  }
}

}  // namespace loadline::cpu
