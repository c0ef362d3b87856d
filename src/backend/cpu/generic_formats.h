// How 256 values of 16 rows of a quantised format come out of a Rows16 tile, written once over the primitives `V` of an
// instruction set (which the including file brings): what every format supplies, what is made of it, and the formats of
// 32 values per block. The others are in generic_k_formats.h, generic_small_formats.h and generic_codebooks.h. Internal
// linkage.
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

// ---- Scales that are integers ----

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

}  // namespace
}  // namespace loadline::cpu
