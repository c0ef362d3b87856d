// How 256 values of 16 rows of each quantised format come out of a Rows16 tile, written once over the primitives `V` of
// an instruction set (which the including file brings). Internal linkage.
//
// A format supplies, for a pointer `p` to 256 values of a tile (smaller ggml blocks: eight consecutive ones):
//   kBytes         bytes of 256 values of one row
//   kGroup         values that share a scale: 16 or 32, or 256
//   kBias          what to subtract from its unsigned weights; 0 for none
//   kMost          the largest unsigned weight (of signed ones 255, as V::Dots wants it)
//   kSigned        weights come as signed bytes plus V::kSignedOffset instead (kBias is not used), or as V::Signed,
//   whose
//                  magnitudes are at most kMost then
//   kSymmetric     ... and none of them is -128
//   kMins          what else is added to a row: nothing, a float per 32, or 6-bit or 4-bit mins times a float
//   Header(p)      what is decoded once for all 256
//   kByteScales    the scales are integers: that of group g is header.integer<g>(), or a byte less kScaleBias, byte
//                  scale_byte(g) of header.scales[scale_vector(g)]
//   scale<g>       else: float scale of group g
//   kFactor        whether these are yet to be multiplied by factor(header, p), the same for all 256
//   kSegments      parts of the 256 values: all values of kSegmentGroups groups each, of which number i of part s is
//                  group_of<s>(i)
//   turn(offset)   which of the 64 calls for all segments hands over the values at `offset`
//   weights<offset>(p) the weights of 4 values
//   segment<s>     else, where they come together: calls sink(group within the segment, offset of 4 values, weights)
//   for
//                  part s; group and offset are integral constants
//   in_place<s>    (kInPlace, only with kByteScales) as segment<s>, but the weights of group i may come times 2 to the
//                  kPlaces[i], which saves shifting them
//   Folder         (kFold) the weight times its group's integer scale, as a signed byte plus V::kSignedOffset, or
//                  where there is no bias unsigned; folded_scale(header) is what is left to multiply by
// The bit layouts are those of ggml-common.h, times 16 rows as layout.h describes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_lanes.h"

namespace loadline::cpu {
namespace {

enum class Mins { None, Float, Pairs32, Pairs16 };

constexpr std::size_t kRows = 16;

// Unit u (4 bytes of each row) of the field at `offset` bytes into a block.
template <int offset>
LOADLINE_INLINE I unit(const std::byte* p, int u) {
  return V::load(p + kRows * offset + static_cast<std::size_t>(u) * 64);
}

// The low nibbles of every byte, or the high ones.
template <int high>
LOADLINE_INLINE I nibbles_at(I packed) {
  return V::and_(high == 0 ? packed : V::shift<4>(packed), V::bytes(0x0F));
}

// Whether the weights of a format can be had 4 values at a time, in any order.
template <class Format>
constexpr bool kByOffset = requires(const std::byte* p) { Format::template weights<0>(p); };

// The offset of the values that come at a turn.
template <class Format>
constexpr int offset_at(int turn) {
  int offset = 0;
  while (Format::turn(offset) != turn) offset += 4;
  return offset;
}
// Which of segment s's groups a value is of.
template <class Format, int s>
constexpr int group_within(int offset) {
  int i = 0;
  while (Format::template group_of<s>(i) != offset / Format::kGroup) ++i;
  return i;
}
// Calls use(group within the segment, offset) for every 4 values of segment s, in turn.
template <class Format, int s, class Use>
LOADLINE_INLINE void each_offset(Use&& use) {
  constexpr int kUnits = 64 / Format::kSegments;
  unrolled<kUnits>(LOADLINE_EACH(k) {
    constexpr int kOffset = offset_at<Format>(kUnits * s + k);
    use(Const<group_within<Format, s>(kOffset)>{}, Const<kOffset>{});
  });
}
// Calls sink(group within the segment, offset, weights) for every 4 values of segment s, in turn.
template <class Format, int s, class Sink>
LOADLINE_INLINE void each_of_segment(const std::byte* p, Sink&& sink) {
  if constexpr (kByOffset<Format>) {
    each_offset<Format, s>([&](auto i, auto offset) __attribute__((always_inline)) {
      sink(i, offset, Format::template weights<offset>(p));
    });
  } else {
    Format::template segment<s>(p, sink);
  }
}

// ---- 32 values per block ----

// Units of low and high nibbles alternate.
constexpr int turn_of_nibbles32(int offset) { return offset / 32 * 8 + 2 * (offset % 16 / 4) + offset % 32 / 16; }

// Two bytes of scale, 16 bytes of nibbles: the low ones are values 0..15, the high ones 16..31.
template <int bytes_, int nibbles_>
struct Nibbles32 {
  static constexpr int kBytes = 8 * bytes_;
  static constexpr int kGroup = 32;
  static constexpr int kSegments = 8;
  static constexpr int kSegmentGroups = 1;
  static constexpr bool kFold = false;
  static constexpr bool kByteScales = false;
  static constexpr bool kFactor = false;
  static constexpr bool kSymmetric = false;
  template <int s>
  static constexpr int group_of(int) {
    return s;
  }
  static constexpr int turn(int offset) { return turn_of_nibbles32(offset); }
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte*) {}
  };
  static LOADLINE_INLINE const std::byte* block(const std::byte* p, int i) {
    return p + static_cast<std::size_t>(i) * kRows * bytes_;
  }
  template <int g>
  static LOADLINE_INLINE F scale(const Header&, const std::byte* p) {
    return V::halves(block(p, g));
  }
  template <int g>
  static LOADLINE_INLINE F minimum(const std::byte* p) {
    return V::halves(block(p, g) + kRows * 2);
  }
  template <int offset>
  static LOADLINE_INLINE I nibbles(const std::byte* p) {
    return nibbles_at<offset % 32 / 16>(unit<nibbles_>(block(p, offset / 32), offset % 16 / 4));
  }
};

struct Q4_0 : Nibbles32<18, 2> {
  static constexpr int kBias = 8;
  static constexpr int kMost = 15;
  static constexpr bool kSigned = false;
  static constexpr Mins kMins = Mins::None;
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    return nibbles<offset>(p);
  }
};

struct Q4_1 : Nibbles32<20, 4> {
  static constexpr int kBias = 0;
  static constexpr int kMost = 15;
  static constexpr bool kSigned = false;
  static constexpr Mins kMins = Mins::Float;
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    return nibbles<offset>(p);
  }
};

// A fifth bit for every value, in 4 bytes before the nibbles.
template <int bytes_, int bits_>
struct FiveBits32 : Nibbles32<bytes_, bits_ + 4> {
  using Base = Nibbles32<bytes_, bits_ + 4>;
  static constexpr bool kSigned = false;
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    const I bits = unit<bits_>(Base::block(p, offset / 32), 0);
    return V::or_(Base::template nibbles<offset>(p), V::template fifth_bits<offset % 32 / 4>(bits));
  }
};

struct Q5_0 : FiveBits32<22, 2> {
  static constexpr int kBias = 16;
  static constexpr int kMost = 31;
  static constexpr Mins kMins = Mins::None;
};

struct Q5_1 : FiveBits32<24, 4> {
  static constexpr int kBias = 0;
  static constexpr int kMost = 31;
  static constexpr Mins kMins = Mins::Float;
};

LOADLINE_INLINE I offset_signed(I v) { return V::kSignedOffset != 0 ? V::xor_(v, V::bytes(0x80)) : v; }

struct Q8_0 : Nibbles32<34, 0> {
  static constexpr int turn(int offset) { return offset / 4; }
  static constexpr int kBias = 0;
  static constexpr int kMost = 255;
  static constexpr bool kSigned = true;
  static constexpr Mins kMins = Mins::None;
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    return offset_signed(unit<2>(block(p, offset / 32), offset % 32 / 4));
  }
};

// The sixteen levels (ggml-common.h, kvalues_iq4nl).
constexpr std::int8_t kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
LOADLINE_INLINE I level(I nibble) { return V::lookup(offset_signed(V::table16(kLevels)), nibble); }

struct IQ4_NL : Nibbles32<18, 2> {
  static constexpr int kBias = 0;
  static constexpr int kMost = 255;
  static constexpr bool kSigned = true;
  static constexpr bool kSymmetric = true;
  static constexpr Mins kMins = Mins::None;
  template <int offset>
  static LOADLINE_INLINE I weights(const std::byte* p) {
    return level(nibbles<offset>(p));
  }
};

// ---- 256 values per block ----

// Byte j of every lane as an integer.
template <int j>
LOADLINE_INLINE I byte_of(I v) {
  if constexpr (j == 3) return V::shr32<24>(v);
  const I shifted = j == 0 ? v : V::shr32<8 * j>(v);
  return V::and_(shifted, V::ints(0xFF));
}
template <int j>
LOADLINE_INLINE I signed_byte_of(I v) {
  return V::sra32<24>(j == 3 ? v : V::shl32<24 - 8 * j>(v));
}

// Bytes 0 and 2 of every lane as its 16-bit halves, and bytes 1 and 3.
struct BytePairs {
  I even, odd;
};
LOADLINE_INLINE BytePairs byte_pairs(I v) { return {V::and_(v, V::words(0x00FF)), V::shift<8>(v)}; }

// Four scales in every lane, in order, and a factor in the header.
template <int bias>
struct ByteScales {
  static constexpr bool kByteScales = true;
  static constexpr bool kFactor = true;
  static constexpr bool kInPlace = false;
  static constexpr int kScaleBias = bias;
  template <class Header>
  static LOADLINE_INLINE F factor(const Header& h, const std::byte*) {
    return h.d;
  }
  static constexpr int scale_vector(int g) { return g / 4; }
  static constexpr int scale_byte(int g) { return g % 4; }
};

// Whether a format's header makes the scale of a group as an integer, and has no vectors of bytes with them.
template <class Format>
constexpr bool kScalesApart = requires(const typename Format::Header& h) { h.template integer<0>(); };

// Group g's scale as an integer, and as two of 16 bits in every lane.
template <class Format, int g>
LOADLINE_INLINE I integer_scale(const typename Format::Header& h) {
  if constexpr (kScalesApart<Format>) {
    return h.template integer<g>();
  } else {
    const I scale = byte_of<Format::scale_byte(g)>(h.scales[Format::scale_vector(g)]);
    return Format::kScaleBias == 0 ? scale : V::sub32(scale, V::ints(Format::kScaleBias));
  }
}
template <class Format, int g>
LOADLINE_INLINE I scale_twice(const typename Format::Header& h) {
  if constexpr (kScalesApart<Format>) {
    const I scale = h.template integer<g>();
    return V::or_(scale, V::template shl32<16>(scale));
  } else {
    const I scale = V::byte_twice<Format::scale_byte(g)>(h.scales[Format::scale_vector(g)]);
    return Format::kScaleBias == 0 ? scale : V::sub16(scale, V::words(Format::kScaleBias));
  }
}
// As a float, of any format: what is to be multiplied by the factor, and all of it.
template <class Format, int g>
LOADLINE_INLINE F scale_less_factor(const typename Format::Header& h, const std::byte* p) {
  if constexpr (Format::kByteScales) {
    return V::to_float(integer_scale<Format, g>(h));
  } else {
    return Format::template scale<g>(h, p);
  }
}
template <class Format, int g>
LOADLINE_INLINE F float_scale(const typename Format::Header& h, const std::byte* p) {
  const F scale = scale_less_factor<Format, g>(h, p);
  if constexpr (Format::kFactor) {
    return V::mul(scale, Format::factor(h, p));
  } else {
    return scale;
  }
}

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
