// Weights whose bits unpack with little work in other places than a file has them. In the files of Q3_K and Q6_K the
// low bits of a weight lie in one field and its high bits in another, so that each costs shifts in both; in a tile
// (layout.h) most weights come by a mask alone, and in the order of the row. Nothing is lost: the bits of a block
// change places.
//
// A "quad" is 4 consecutive weights of a row, one in each byte of a 4-byte unit; 256 weights are 64 quads. Of each
// quad the lowest bit comes first below. The files' places are those of ggml-common.h and ggml-quants.c.
#pragma once

#include <cstdint>

namespace loadline::cpu {

constexpr std::uint32_t every_byte(std::uint32_t byte) { return byte * 0x01010101; }

// Bits change places with those `distance` above them: `mask` has the lower ones.
template <class Word>
constexpr Word exchange(Word x, std::uint32_t distance, std::uint32_t mask) {
  const Word different = (x >> distance ^ x) & mask;
  return x ^ different ^ different << distance;
}
// Bit 8 l + 4 h + j of a unit to 8 j + 4 h + l and back, for l and j below 4. Of 32 values in order, the bits of
// every 4 then lie in one place of the 4 bytes.
template <class Word>
constexpr Word transpose_ones(Word x) {
  return exchange(exchange(x, 14, 0x0000CCCC), 7, 0x00AA00AA);
}
// The same with two bits each: 8 i + 2 j to 8 j + 2 i.
template <class Word>
constexpr Word transpose_twos(Word x) {
  return exchange(exchange(x, 12, 0x0000F0F0), 6, 0x00CC00CC);
}

// Every unit alone, see above: a bit each of 32 values or indices (Q1_0, IQ2_S, IQ3_S).
template <std::uint32_t units>
struct Ones {
  static constexpr std::uint32_t kUnits = units;
  template <class Word>
  static void join(const Word (&file)[kUnits], Word (&tile)[kUnits]) {
    for (std::uint32_t u = 0; u < units; ++u) tile[u] = transpose_ones(file[u]);
  }
  template <class Word>
  static void split(const Word (&tile)[kUnits], Word (&file)[kUnits]) {
    join(tile, file);
  }
};
// Two bits each of 16 values or indices (Q2_0, IQ2_S).
template <std::uint32_t units>
struct Twos {
  static constexpr std::uint32_t kUnits = units;
  template <class Word>
  static void join(const Word (&file)[kUnits], Word (&tile)[kUnits]) {
    for (std::uint32_t u = 0; u < units; ++u) tile[u] = transpose_twos(file[u]);
  }
  template <class Word>
  static void split(const Word (&tile)[kUnits], Word (&file)[kUnits]) {
    join(tile, file);
  }
};

// The words of IQ2_XXS and IQ3_XXS: 7 bits of signs for each of four eights, and 4 bits of scale. The first become bits
// 0..6 of four bytes, the last their eighth bits; as the places of 32 signs these are transposed as above. The four
// bits that no sign is kept in, those of the last value of each eight, then are the top of the word, as in the file.
// Every `step`th unit, the last of each.
template <std::uint32_t units, std::uint32_t step>
struct Sevens {
  static constexpr std::uint32_t kUnits = units;
  template <class Word>
  static void join(const Word (&file)[kUnits], Word (&tile)[kUnits]) {
    for (std::uint32_t u = 0; u < units; ++u) {
      const Word x = file[u];
      if (u % step != step - 1) {
        tile[u] = x;
        continue;
      }
      const Word seven = (x & 0x7F) | (x & 0x3F80) << 1 | (x & 0x1FC000) << 2 | (x & 0x0FE00000) << 3;
      const Word top = (x >> 21 & 0x80) | (x >> 14 & 0x8000) | (x >> 7 & 0x800000) | (x & 0x80000000U);
      tile[u] = transpose_ones(Word(seven | top));
    }
  }
  template <class Word>
  static void split(const Word (&tile)[kUnits], Word (&file)[kUnits]) {
    for (std::uint32_t u = 0; u < units; ++u) {
      if (u % step != step - 1) {
        file[u] = tile[u];
        continue;
      }
      const Word x = transpose_ones(tile[u]);
      const Word seven = (x & 0x7F) | (x >> 1 & 0x3F80) | (x >> 2 & 0x1FC000) | (x >> 3 & 0x0FE00000);
      file[u] = seven | (x & 0x80) << 21 | (x & 0x8000) << 14 | (x & 0x800000) << 7 | (x & 0x80000000U);
    }
  }
};

// Of IQ2_XS two units have four numbers of 9 bits of index and, above them, 7 of signs. In the tile the first unit is
// the low bytes of the indices, the second the signs as above, with the ninth bits where that has the scale.
struct Ninths {
  static constexpr std::uint32_t kUnits = 16;
  template <class Word>
  static void join(const Word (&file)[kUnits], Word (&tile)[kUnits]) {
    for (std::uint32_t u = 0; u < kUnits; u += 2) {
      const auto bytes = [](Word a, Word b) {
        return (a & 0xFF) | (a >> 8 & 0xFF00) | (b & 0xFF) << 16 | (b & 0xFF0000) << 8;
      };
      const auto signs = [](Word x) { return (x >> 9 & 0x007F007F) | (x & 0x01000100) >> 1; };
      tile[u] = bytes(file[u], file[u + 1]);
      tile[u + 1] = transpose_ones(Word(bytes(signs(file[u]), signs(file[u + 1]))));
    }
  }
  template <class Word>
  static void split(const Word (&tile)[kUnits], Word (&file)[kUnits]) {
    for (std::uint32_t u = 0; u < kUnits; u += 2) {
      const Word signs = transpose_ones(tile[u + 1]);
      for (std::uint32_t half = 0; half < 2; ++half) {
        const auto apart = [&](Word x) { return Word((x >> (16 * half) & 0xFF) | (x >> (16 * half) & 0xFF00) << 8); };
        const Word of_signs = apart(signs);
        file[u + half] = apart(tile[u]) | (of_signs & 0x007F007F) << 9 | (of_signs & 0x00800080) << 1;
      }
    }
  }
};

// In the file quad v = 32 * half + 8 * j + u has its low bits in bits 2 j and 2 j + 1 of unit 8 * half + u of the field
// `qs`, and its high bit in bit 4 * half + j of unit u of `hmask`, which comes first. In the tile every half has twelve
// units, three after three:
//   of triple t, unit k          bits 0..2 are quad 3 t + k, bits 3..5 quad 12 + 3 t + k of the half
//   bits 6 and 7 of its units    quad 24 + t: bits 6 and 7 of the last, bit 6 of the second
//                                quad 28 + t: bit 7 of the second, bits 6 and 7 of the first
// Word is 4 bytes of a row, or a vector of them of several rows. Loops are unrolled so that places are constants.
struct ThreeBits {
  static constexpr std::uint32_t kUnits = 24;
  static constexpr std::uint32_t kLow = 8;  // where `qs` begins in the file

  template <class Word>
  static void join(const Word (&file)[kUnits], Word (&tile)[kUnits]) {
    const auto quad = [&](std::uint32_t half, std::uint32_t v) {
      const Word low = file[kLow + 8 * half + v % 8] >> (2 * (v / 8)) & every_byte(3);
      const Word high = file[v % 8] >> (4 * half + v / 8) & every_byte(1);
      return low | high << 2;
    };
#pragma GCC unroll 2
    for (std::uint32_t half = 0; half < 2; ++half) {
#pragma GCC unroll 4
      for (std::uint32_t t = 0; t < 4; ++t) {
        const Word first = quad(half, 24 + t);
        const Word second = quad(half, 28 + t);
        const Word rest[] = {second >> 1 & every_byte(3), (first >> 2 & every_byte(1)) | (second & every_byte(1)) << 1,
                             first & every_byte(3)};
#pragma GCC unroll 3
        for (std::uint32_t k = 0; k < 3; ++k) {
          const std::uint32_t unit = 3 * t + k;
          tile[12 * half + unit] = quad(half, unit) | quad(half, 12 + unit) << 3 | rest[k] << 6;
        }
      }
    }
  }

  template <class Word>
  static void split(const Word (&tile)[kUnits], Word (&file)[kUnits]) {
    for (Word& unit : file) unit = Word{};
    for (std::uint32_t half = 0; half < 2; ++half) {
      const auto put = [&](std::uint32_t v, Word quad) {
        file[kLow + 8 * half + v % 8] |= (quad & every_byte(3)) << (2 * (v / 8));
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
};

// In the file quad v = 32 * half + 8 * j + u has its low bits in a nibble of unit 16 * half + 8 * (j % 2) + u of `ql`,
// the high nibble for j of 2 and 3, and its high bits in bits 2 j and 2 j + 1 of unit 8 * half + u of `qh`, which
// follows. In the tile every group of 16 weights has three units: bits 0..5 are its first three quads, bits 6 and 7 of
// the three the fourth.
struct SixBits {
  static constexpr std::uint32_t kUnits = 48;
  static constexpr std::uint32_t kHigh = 32;  // where `qh` begins in the file

  template <class Word>
  static void join(const Word (&file)[kUnits], Word (&tile)[kUnits]) {
    const auto quad = [&](std::uint32_t v) {
      const Place place(v);
      return (file[place.low] >> place.low_bit & every_byte(15)) | (file[place.high] >> place.high_bit & every_byte(3))
                                                                       << 4;
    };
#pragma GCC unroll 16
    for (std::uint32_t group = 0; group < 16; ++group) {
      const Word fourth = quad(4 * group + 3);
#pragma GCC unroll 3
      for (std::uint32_t k = 0; k < 3; ++k) {
        tile[3 * group + k] = quad(4 * group + k) | (fourth >> (2 * k) & every_byte(3)) << 6;
      }
    }
  }

  template <class Word>
  static void split(const Word (&tile)[kUnits], Word (&file)[kUnits]) {
    for (Word& unit : file) unit = Word{};
    for (std::uint32_t group = 0; group < 16; ++group) {
      const auto put = [&](std::uint32_t k, Word quad) {
        const Place place(4 * group + k);
        file[place.low] |= (quad & every_byte(15)) << place.low_bit;
        file[place.high] |= (quad >> 4 & every_byte(3)) << place.high_bit;
      };
      Word fourth{};
      for (std::uint32_t k = 0; k < 3; ++k) {
        const Word unit = tile[3 * group + k];
        put(k, unit & every_byte(63));
        fourth |= (unit >> 6 & every_byte(3)) << (2 * k);
      }
      put(3, fourth);
    }
  }

 private:
  // Of a quad in the file.
  struct Place {
    explicit Place(std::uint32_t v)
        : low(v / 32 * 16 + v / 8 % 2 * 8 + v % 8),
          low_bit(v / 16 % 2 * 4),
          high(kHigh + v / 32 * 8 + v % 8),
          high_bit(v / 8 % 4 * 2) {}
    std::uint32_t low, low_bit, high, high_bit;
  };
};

}  // namespace loadline::cpu
