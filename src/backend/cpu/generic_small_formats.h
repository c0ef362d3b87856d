// How 256 values of 16 rows of the formats with four bits of floating point (MXFP4, NVFP4) and of those with two or
// three levels (TQ1_0, TQ2_0, Q1_0, Q2_0) come out of a Rows16 tile: see generic_formats.h. Internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_formats.h"
#include "quant/codebooks.h"

namespace loadline::cpu {
namespace {

// Twice the values of four bits (quant/blocks.h, kFp4Values), plus 16: unsigned, they are multiplied with less work.
constexpr std::int8_t kRaisedFp4[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};
LOADLINE_INLINE I raised_fp4(I nibble) { return V::lookup(V::table16(kRaisedFp4), nibble); }

// A power of two for 32 values. Where it is 2^-128, which floats have no more than a few bits for, the values are taken
// for zeros: the largest is 4e-38.
struct MXFP4 : Nibbles32<17, 1> {
  static constexpr int kBias = 16;
  static constexpr int kMost = 28;
  static constexpr bool kSigned = false;
  static constexpr Mins kMins = Mins::None;
  template <int g>
  static LOADLINE_INLINE F scale(const Header&, const std::byte* p) {
    const I exponent = V::and_(V::chars(block(p, g)), V::ints(0xFF));
    return V::mul(V::as_float(V::template shl32<23>(exponent)), V::set(0.5F));
  }
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    return raised_fp4(nibbles<offset>(p));
  }
};

// Blocks of 64 values: a unit of scales, then two units for each 16 values, of which the low nibbles are the first 8.
struct NVFP4 {
  static constexpr int kBytes = 144;
  static constexpr int kGroup = 16;
  static constexpr int kSegments = 16;
  static constexpr int kSegmentGroups = 1;
  static constexpr bool kFold = false;
  static constexpr bool kByteScales = false;
  static constexpr bool kFactor = false;
  static constexpr bool kSymmetric = false;
  static constexpr int kBias = 16;
  static constexpr int kMost = 28;
  static constexpr bool kSigned = false;
  static constexpr Mins kMins = Mins::None;
  template <int s>
  static constexpr int group_of(int) {
    return s;
  }
  static constexpr int turn(int offset) { return offset / 16 * 4 + offset % 8 / 4 * 2 + offset % 16 / 8; }
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte*) {}
  };
  static LOADLINE_INLINE const std::byte* block(const std::byte* p, int i) {
    return p + static_cast<std::size_t>(i) * kRows * 36;
  }
  // Exponent and mantissa as a float's, whose exponent is 120 less, and which handles small numbers likewise.
  template <int g>
  static LOADLINE_INLINE F scale(const Header&, const std::byte* p) {
    // What is not a number counts as 0.
    const I valid = V::without(V::and_(unit<0>(block(p, g / 4), 0), V::bytes(0x7F)), 0x7F);
    constexpr int kLeft = 20 - 8 * (g % 4);
    I bits = valid;
    if constexpr (kLeft > 0) bits = V::template shl32<kLeft>(valid);
    if constexpr (kLeft < 0) bits = V::template shr32<-kLeft>(valid);
    return V::mul(V::as_float(V::and_(bits, V::ints(0x7F << 20))), V::set(0x1p119F));
  }
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    const I packed = unit<4>(block(p, offset / 64), offset % 64 / 16 * 2 + offset % 8 / 4);
    return raised_fp4(nibbles_at<offset % 16 / 8>(packed));
  }
};

// One scale for all 256 values, in a half at the end; weights are 1 less than they come.
template <int bytes_, int most>
struct OneScale {
  static constexpr int kBytes = bytes_;
  static constexpr int kGroup = 256;
  static constexpr int kSegments = 1;
  static constexpr int kSegmentGroups = 1;
  static constexpr bool kFold = false;
  static constexpr bool kByteScales = false;
  static constexpr bool kFactor = false;
  static constexpr bool kSymmetric = false;
  static constexpr int kBias = 1;
  static constexpr int kMost = most;
  static constexpr bool kSigned = false;
  static constexpr Mins kMins = Mins::None;
  template <int s>
  static constexpr int group_of(int) {
    return 0;
  }
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte*) {}
  };
  template <int g>
  static LOADLINE_INLINE F scale(const Header&, const std::byte* p) {
    return V::halves(p + kRows * (bytes_ - 2));
  }
};

// Bytes with five digits of base 3 as a fraction (the last unit's with four): times 3, the digit is what is above it;
// or they are looked up.
struct TQ1_0 : OneScale<54, 2> {
  // Units 0 to 7 have the values 32 n + 4 u of digit n, units 8 to 11 160 + 16 n + 4 u, unit 12 240 + 4 n.
  static constexpr int turn(int offset) {
    return offset < 160   ? offset % 32 / 4 * 5 + offset / 32
           : offset < 240 ? 40 + offset % 16 / 4 * 5 + (offset - 160) / 16
                          : 60 + (offset - 240) / 4;
  }
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    unrolled<13>(LOADLINE_EACH(u) {
      constexpr int kFirst = u < 8 ? 4 * u : u < 12 ? 160 + 4 * (u - 8) : 240;
      constexpr int kStep = u < 8 ? 32 : u < 12 ? 16 : 4;
      constexpr int kDigits = u < 12 ? 5 : 4;
      if constexpr (V::kTables) {
        const I bytes = unit<0>(p, u);
        const I four = V::template looked_up<256>(quant::kTernaryDigits.low.data(), bytes, V::zero());
        unrolled<4>(LOADLINE_EACH(n) {
          sink(Const<0>{}, Const<kFirst + kStep * n>{}, V::and_(V::template shift<2 * n>(four), V::bytes(3)));
        });
        if constexpr (kDigits == 5) {
          sink(Const<0>{}, Const<kFirst + kStep * 4>{},
               V::template looked_up<256>(quant::kTernaryDigits.high.data(), bytes, V::zero()));
        }
      } else {
        BytePairs fractions = byte_pairs(unit<0>(p, u));
        unrolled<kDigits>(LOADLINE_EACH(n) {
          const I even = V::mul16(fractions.even, V::words(3));
          const I odd = V::mul16(fractions.odd, V::words(3));
          sink(Const<0>{}, Const<kFirst + kStep * n>{}, V::or_and(V::template shift<8>(even), odd, V::words(0xFF00)));
          fractions = {V::and_(even, V::words(0xFF)), V::and_(odd, V::words(0xFF))};
        });
      }
    });
  }
};

struct TQ2_0 : OneScale<66, 3> {
  static constexpr int turn(int offset) { return offset / 128 * 32 + offset % 32 / 4 * 4 + offset % 128 / 32; }
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    unrolled<16>(LOADLINE_EACH(u) {
      const I packed = unit<0>(p, u);
      unrolled<4>(LOADLINE_EACH(j) {
        sink(Const<0>{}, Const<u / 8 * 128 + 32 * j + u % 8 * 4>{},
             V::and_(V::template shift<2 * j>(packed), V::bytes(3)));
      });
    });
  }
};

// Blocks with a half before 16 bytes, a segment for each 32 values; weights are 1 less than they come.
template <int blocks, int most>
struct HalfAndUnits {
  static constexpr int kBytes = 18 * blocks;
  static constexpr int kGroup = 32;
  static constexpr int kSegments = 8;
  static constexpr int kSegmentGroups = 1;
  static constexpr bool kFold = false;
  static constexpr bool kByteScales = false;
  static constexpr bool kFactor = false;
  static constexpr bool kSymmetric = false;
  static constexpr int kBias = 1;
  static constexpr int kMost = most;
  static constexpr bool kSigned = false;
  static constexpr Mins kMins = Mins::None;
  template <int s>
  static constexpr int group_of(int) {
    return s;
  }
  static constexpr int turn(int offset) { return offset / 4; }
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte*) {}
  };
  // Of values 32 s on.
  static LOADLINE_INLINE const std::byte* block(const std::byte* p, int s) {
    return p + static_cast<std::size_t>(s * blocks / 8) * kRows * 18;
  }
  template <int g>
  static LOADLINE_INLINE F scale(const Header&, const std::byte* p) {
    return V::halves(block(p, g));
  }
};

// A bit is 0 or 2.
struct Q1_0 : HalfAndUnits<2, 2> {
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    const I bits = unit<2>(block(p, s), s % 4);
    unrolled<8>(LOADLINE_EACH(q) {
      constexpr int kPlace = q % 2 * 4 + q / 2;  // see rearranged_bits.h
      sink(Const<0>{}, Const<32 * s + 4 * q>{}, V::and_(V::template shift<kPlace - 1>(bits), V::bytes(2)));
    });
  }
};

struct Q2_0 : HalfAndUnits<4, 3> {
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    unrolled<2>(LOADLINE_EACH(u) {
      const I packed = unit<2>(block(p, s), s % 2 * 2 + u);
      unrolled<4>(LOADLINE_EACH(i) {
        sink(Const<0>{}, Const<32 * s + 16 * u + 4 * i>{}, V::and_(V::template shift<2 * i>(packed), V::bytes(3)));
      });
    });
  }
};

}  // namespace
}  // namespace loadline::cpu
