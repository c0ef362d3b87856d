// How 256 values of 16 rows of the formats with 256 values per block and two to six bits each (Q2_K to Q6_K, IQ4_XS)
// come out of a Rows16 tile: see generic_formats.h. Internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_formats.h"

namespace loadline::cpu {
namespace {

// 64 values of nibbles per 32 bytes: the low ones first.
struct NibblesK : ByteScales<0> {
  static constexpr int kGroup = 32;
  static constexpr int kSegments = 4;
  static constexpr int kSegmentGroups = 2;
  static constexpr bool kFold = false;
  static constexpr bool kSymmetric = false;
  template <int s>
  static constexpr int group_of(int i) {
    return 2 * s + i;
  }
  static constexpr int turn(int offset) { return offset / 64 * 16 + 2 * (offset % 32 / 4) + offset % 64 / 32; }
};

// Eight scales and eight mins of 6 bits in 12 bytes: the first four of each in the low bits of bytes 0..7, the others
// in the nibbles of bytes 8..11 and the high bits of the first eight.
struct SixBits {
  explicit LOADLINE_INLINE SixBits(const std::byte* p) {
    const I first = unit<4>(p, 0);
    const I second = unit<4>(p, 1);
    const I third = unit<4>(p, 2);
    const I low6 = V::bytes(0x3F);
    const I low4 = V::bytes(0x0F);
    const I high = V::bytes(0x30);
    scales[0] = V::and_(first, low6);
    mins[0] = V::and_(second, low6);
    scales[1] = V::or_and(V::and_(third, low4), V::shr32<2>(first), high);
    mins[1] = V::or_and(V::and_(V::shr32<4>(third), low4), V::shr32<2>(second), high);
    d = V::halves(p);
    negative_dmin = V::sub(V::zero_f(), V::halves(p + kRows * 2));
  }
  LOADLINE_INLINE I min(int i) const { return mins[i]; }
  LOADLINE_INLINE BytePairs min_pairs(int i) const { return byte_pairs(mins[i]); }
  I scales[2], mins[2];  // bytes 0..3 and 4..7
  F d, negative_dmin;
};

struct Q4_K : NibblesK {
  static constexpr int kBytes = 144;
  static constexpr int kBias = 0;
  static constexpr int kMost = 15;
  static constexpr bool kSigned = false;
  static constexpr Mins kMins = Mins::Pairs32;
  using Header = SixBits;
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    return nibbles_at<offset % 64 / 32>(unit<16>(p, offset / 64 * 8 + offset % 32 / 4));
  }
};

struct Q5_K : NibblesK {
  static constexpr int kBytes = 176;
  static constexpr int kBias = 0;
  static constexpr int kMost = 31;
  static constexpr bool kSigned = false;
  static constexpr Mins kMins = Mins::Pairs32;
  using Header = SixBits;
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    // Bit 2 s of every byte for the low nibbles of 64 values s, bit 2 s + 1 for the high ones.
    const I bits = unit<16>(p, offset % 32 / 4);
    const I nibbles = nibbles_at<offset % 64 / 32>(unit<48>(p, offset / 64 * 8 + offset % 32 / 4));
    return V::or_and(nibbles, V::shift<offset / 32 - 4>(bits), V::bytes(0x10));
  }
};

// Weights of 6 bits less 32, of each group three units as rearranged_bits.h has them; scales are signed bytes.
struct Q6_K {
  // Its scales are signed, and what its bias subtracts from a group's sum does not fit 16 bits.
  static constexpr bool kByteScales = false;
  static constexpr bool kFactor = true;
  static constexpr int kBytes = 210;
  static constexpr int kGroup = 16;
  static constexpr int kSegments = 4;
  static constexpr int kSegmentGroups = 4;
  static constexpr bool kSymmetric = false;
  template <int s>
  static constexpr int group_of(int i) {
    return 4 * s + i;
  }
  static constexpr int turn(int offset) { return offset / 4; }
  static constexpr int kBias = 32;
  static constexpr int kMost = 63;
  static constexpr bool kSigned = false;
  static constexpr bool kFold = false;
  static constexpr Mins kMins = Mins::None;
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte*) {}
  };
  template <int g>
  static LOADLINE_INLINE F scale(const Header&, const std::byte* p) {
    return V::to_float(signed_byte_of<g % 4>(unit<0>(p, g / 4)));
  }
  // At the end of the block, so that it is read last.
  static LOADLINE_INLINE F factor(const Header&, const std::byte* p) { return V::halves(p + kRows * 208); }
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    constexpr int kUnit = offset / 16 * 3;
    constexpr int kNumber = offset % 16 / 4;
    if constexpr (kNumber < 3) return V::and_(unit<16>(p, kUnit + kNumber), V::bytes(0x3F));
    I fourth = V::and_(V::shift<2>(unit<16>(p, kUnit + 2)), V::bytes(0x30));
    fourth = V::or_and(fourth, V::shift<4>(unit<16>(p, kUnit + 1)), V::bytes(0x0C));
    return V::or_and(fourth, V::shift<6>(unit<16>(p, kUnit)), V::bytes(0x03));
  }
};

// Sixteen scales and mins of 4 bits; 2-bit weights, four times 32 values in the same 32 bytes. Segment s is the half
// s / 2, and of its units those of the first or second 16 bytes, so that few accumulators are alive together.
struct Q2_K : ByteScales<0> {
  static constexpr int kGroup = 16;
  static constexpr int kSegments = 4;
  static constexpr int kSegmentGroups = 4;
  static constexpr bool kSymmetric = false;
  template <int s>
  static constexpr int group_of(int i) {
    return s / 2 * 8 + 2 * i + s % 2;
  }
  // Of 4 values in group i of segment s, unit u of the segment's four.
  template <int s>
  static constexpr int offset_of(int i, int u) {
    return s / 2 * 128 + 32 * i + 4 * (s % 2 * 4 + u);
  }
  static constexpr int turn(int offset) {
    return (offset / 128 * 2 + offset / 16 % 2) * 16 + offset / 4 % 4 * 4 + offset % 128 / 32;
  }
  // How many of a byte's four weights can be multiplied where they are.
  static constexpr int kUnshifted = V::kLargest == 255 ? 4 : 2;
  static constexpr bool kInPlace = true;
  static constexpr int kPlaces[] = {0, 2, 4 % (2 * kUnshifted), 6 % (2 * kUnshifted)};
  static constexpr int kBytes = 84;
  static constexpr int kBias = 0;
  static constexpr int kMost = 3;
  static constexpr bool kSigned = false;
  static constexpr bool kFold = true;
  static constexpr Mins kMins = Mins::Pairs16;
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte* p)
        : d(V::halves(p + kRows * 80)), negative_dmin(V::sub(V::zero_f(), V::halves(p + kRows * 82))), packed(p) {
      unrolled<4>(LOADLINE_EACH(i) { scales[i] = V::and_(unit<0>(p, i), V::bytes(0x0F)); });
    }
    // Made where they are needed: there are few registers.
    LOADLINE_INLINE I min(int i) const { return V::and_(V::shift<4>(unit<0>(packed, i)), V::bytes(0x0F)); }
    LOADLINE_INLINE BytePairs min_pairs(int i) const {
      const I nibbles = unit<0>(packed, i);
      return {V::and_(V::shift<4>(nibbles), V::words(0x000F)), V::shift<12>(nibbles)};
    }
    I scales[4];
    F d, negative_dmin;
    const std::byte* packed;
  };
  static LOADLINE_INLINE F folded_scale(const Header& h) { return h.d; }
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    weights<s, false>(p, sink);
  }
  template <int s, class Sink>
  static LOADLINE_INLINE void in_place(const std::byte* p, Sink&& sink) {
    weights<s, true>(p, sink);
  }
  template <int s, bool stay, class Sink>
  static LOADLINE_INLINE void weights(const std::byte* p, Sink& sink) {
    unrolled<4>(LOADLINE_EACH(u) {
      const I packed = unit<16>(p, s * 4 + u);
      unrolled<4>(LOADLINE_EACH(j) {
        constexpr int kPlace = stay ? kPlaces[j] : 0;
        sink(Const<j>{}, Const<offset_of<s>(j, u)>{}, V::and_(V::shift<2 * j - kPlace>(packed), V::bytes(3 << kPlace)));
      });
    });
  }
  // At most 3 * 15, so two neighbouring bytes are multiplied at once.
  struct Folder {
    template <int g>
    static LOADLINE_INLINE Folder of(const Header& h) {
      return {scale_twice<Q2_K, g>(h)};
    }
    LOADLINE_INLINE I operator()(I w) const { return V::mul16(w, scale); }
    I scale;
  };
};

// Sixteen scales of 6 bits less 32; weights of 3 bits less 4, as rearranged_bits.h has them: for each half of
// the 256 values twelve units of a low weight, a high one and two bits of others. Segment s is a half.
struct Q3_K : ByteScales<32> {
  static constexpr int kBytes = 110;
  static constexpr int kGroup = 16;
  static constexpr int kSegments = 2;
  static constexpr int kSegmentGroups = 8;
  static constexpr bool kSymmetric = false;
  // Groups whose scales lie two bytes apart follow each other.
  static constexpr int in_pairs(int group) { return group / 4 * 4 + group % 2 * 2 + group % 4 / 2; }
  template <int s>
  static constexpr int group_of(int i) {
    return 8 * s + in_pairs(i);
  }
  // Groups 0 to 2 are the low weights, 3 to 5 the high ones; the other two are put together from the rest.
  static constexpr bool kInPlace = true;
  static constexpr int kPlaces[] = {0, 0, 0, 3, 3, 2, 3, 0};
  static constexpr int turn(int offset) {
    const int group = offset / 16 % 8;
    const int quad = offset / 4 % 4;
    const int unit = 4 * (group % 3) + quad;  // of the low and the high weights
    const int within = group < 6 ? 8 * (unit / 3) + 2 * (unit % 3) + group / 3 : 8 * quad + group;
    return offset / 128 * 32 + within;
  }
  static constexpr int kBias = 4;
  static constexpr int kMost = 7;
  static constexpr bool kSigned = false;
  static constexpr bool kFold = true;
  static constexpr Mins kMins = Mins::None;
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte* p) : d(V::halves(p + kRows * 108)) {
      const I first = unit<96>(p, 0);
      const I second = unit<96>(p, 1);
      const I third = unit<96>(p, 2);
      const I low = V::bytes(0x0F);
      const I high = V::bytes(0x30);
      // The low 4 bits are the nibbles of bytes 0..7, the high 2 bits lie in bytes 8..11, from low to high.
      scales[0] = V::or_and(V::and_(first, low), V::shl32<4>(third), high);
      scales[1] = V::or_and(V::and_(second, low), V::shl32<2>(third), high);
      scales[2] = V::or_and(V::and_(V::shr32<4>(first), low), third, high);
      scales[3] = V::or_and(V::and_(V::shr32<4>(second), low), V::shr32<2>(third), high);
    }
    I scales[4];
    F d;
  };
  // Folded weights are negated, see Folder.
  static LOADLINE_INLINE F folded_scale(const Header& h) { return V::sub(V::zero_f(), h.d); }
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    weights<s, false>(p, sink);
  }
  template <int s, class Sink>
  static LOADLINE_INLINE void in_place(const std::byte* p, Sink&& sink) {
    weights<s, true>(p, sink);
  }
  // The weight that ends at bit `place`.
  template <int place, bool stays>
  static LOADLINE_INLINE I weight(I packed) {
    return V::and_(stays ? packed : V::shift<place>(packed), V::bytes(stays ? 0x07 << place : 0x07));
  }
  template <int s, bool stay, class Sink>
  static LOADLINE_INLINE void weights(const std::byte* p, Sink& sink) {
    unrolled<4>(LOADLINE_EACH(t) {
      const auto hand_over = [&](auto group, auto quad, I w) __attribute__((always_inline)) {
        sink(Const<in_pairs(group)>{}, Const<128 * s + 16 * group + 4 * quad>{}, w);
      };
      I rest = V::zero();
      unrolled<3>(LOADLINE_EACH(k) {
        constexpr int kUnit = 3 * t + k;
        const I packed = unit<0>(p, 12 * s + kUnit);
        hand_over(Const<kUnit / 4>{}, Const<kUnit % 4>{}, weight<0, true>(packed));
        hand_over(Const<3 + kUnit / 4>{}, Const<kUnit % 4>{}, weight<3, stay>(packed));
        rest = V::or_and(rest, V::shift<2 * k>(packed), V::bytes(0xC0 >> (2 * k)));
      });
      hand_over(Const<6>{}, t, weight<2, stay>(rest));
      hand_over(Const<7>{}, t, weight<5, false>(rest));
    });
  }
  // (q - 4) * scale lies in -124 .. 128, so its negative is a signed byte. Two neighbouring bytes q are multiplied at
  // once as 16 bits: q * -scale for both, less what 4 * scale contributes; adding 0x8080 keeps every byte's result
  // within 0 .. 252, so that nothing is borrowed from the byte above.
  struct Folder {
    template <int g>
    static LOADLINE_INLINE Folder of(const Header& h) {
      const I negated = V::sub16(V::zero(), scale_twice<Q3_K, g>(h));
      return {negated, V::add16(V::mul16(negated, V::words(-4 * 0x0101)), V::words(0x8080))};
    }
    LOADLINE_INLINE I operator()(I w) const {
      const I product = V::add16(V::mul16(w, scale), offset);
      return V::kSignedOffset != 0 ? product : V::xor_(product, V::bytes(0x80));
    }
    I scale, offset;
  };
};

// Eight scales of 6 bits less 32: low nibbles in scales_l, high two bits in scales_h. Decoded, those of even groups are
// in one vector and those of odd ones in another.
struct IQ4_XS : ByteScales<32> {
  static constexpr int kBytes = 136;
  static constexpr int kGroup = 32;
  static constexpr int kSegments = 8;
  static constexpr int kSegmentGroups = 1;
  static constexpr bool kFold = false;
  template <int s>
  static constexpr int group_of(int) {
    return s;
  }
  static constexpr int turn(int offset) { return turn_of_nibbles32(offset); }
  static constexpr int scale_vector(int g) { return g % 2; }
  static constexpr int scale_byte(int g) { return g / 2; }
  static constexpr int kBias = 0;
  static constexpr int kMost = 255;
  static constexpr bool kSigned = true;
  static constexpr bool kSymmetric = true;
  static constexpr Mins kMins = Mins::None;
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte* p) : d(V::halves(p)) {
      const I low = unit<4>(p, 0);
      const I packed = V::shorts(p + kRows * 2);
      // The high bits of groups 0..3 in byte 0 and of 4..7 in byte 2; wanted are bits 4 and 5 of every byte.
      const I high = V::or_and(V::and_(packed, V::ints(0xFF)), V::shl32<8>(packed), V::ints(0x00FF0000));
      const I first = V::ints(0x00300030);
      const I second = V::ints(0x30003000);
      scales[0] = V::and_(low, V::bytes(0x0F));
      scales[0] = V::or_and(V::or_and(scales[0], V::shl32<4>(high), first), V::shl32<8>(high), second);
      scales[1] = V::and_(V::shift<4>(low), V::bytes(0x0F));
      scales[1] = V::or_and(V::or_and(scales[1], V::shl32<2>(high), first), V::shl32<6>(high), second);
    }
    F d;
    I scales[2];
  };
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    return level(nibbles_at<offset % 32 / 16>(unit<8>(p, offset / 32 * 4 + offset % 16 / 4)));
  }
};

}  // namespace
}  // namespace loadline::cpu
