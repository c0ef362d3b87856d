// How 256 values of 16 rows of the IQ formats come out of a Rows16 tile: see generic_formats.h for what a format
// supplies. Internal linkage.
//
// Indices are looked up in tables of bytes, an entry for each row; the signs of all rows are then made from the bits
// that rearranged_bits.h has put where a shift alone brings them to the top of their bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/generic_formats.h"
#include "quant/codebooks.h"

namespace loadline::cpu {
namespace {

// 2 x + 1 of four bits x from `bit` on.
template <int bit, int mask = 15>
LOADLINE_INLINE I odd_of(I v) {
  I x = v;
  if constexpr (bit > 0) x = V::template shr32<bit>(v);
  x = V::and_(x, V::ints(mask));
  return V::add32(V::add32(x, x), V::ints(1));
}

// What the IQ formats have in common: integer scales that are 2 s + 1.
struct Codebook {
  static constexpr bool kByteScales = true;
  static constexpr bool kFactor = true;
  static constexpr bool kInPlace = false;
  static constexpr bool kFold = false;
  static constexpr bool kSymmetric = false;
  static constexpr int kBias = 0;
  static constexpr int kSegments = 8;
  static constexpr int turn(int offset) { return offset / 4; }
  template <class Header>
  static LOADLINE_INLINE F factor(const Header& h, const std::byte*) {
    return h.d;
  }
};

// One scale for each segment, or two.
template <int groups>
struct GroupsOfSegment : Codebook {
  static constexpr int kGroup = 32 / groups;
  static constexpr int kSegmentGroups = groups;
  template <int s>
  static constexpr int group_of(int i) {
    return groups * s + i;
  }
  // Of the quad at `offset` of a segment.
  static constexpr int group_at(int offset) { return offset * groups / 32; }
};

// A codebook as the file format has it, and in codes (quant/codebooks.h).
#define LOADLINE_BOOK(name)                                      \
  struct name {                                                  \
    static constexpr const auto& kGrid = quant::k##name##Grid;   \
    static constexpr const auto& kCodes = quant::k##name##Codes; \
  }
namespace books {
LOADLINE_BOOK(Iq2Xxs);
LOADLINE_BOOK(Iq2Xs);
LOADLINE_BOOK(Iq2S);
LOADLINE_BOOK(Iq3Xxs);
LOADLINE_BOOK(Iq3S);
LOADLINE_BOOK(Iq1);
}  // namespace books
#undef LOADLINE_BOOK

// Magnitudes and signs. `most`: the largest magnitude.
template <int groups, int most>
struct SignedCodebook : GroupsOfSegment<groups> {
  static constexpr bool kSigned = true;
  static constexpr int kMost = V::kNarrow ? most : 255;
  static constexpr Mins kMins = Mins::None;
};

// Puts the sign of the last value of each eight, which makes the number of negative ones even, where the word has its
// scale: the exclusive or of all others, and of the scale with itself.
LOADLINE_INLINE I with_last_signs(I word) {
  I parity = V::xor_(word, V::template shr32<16>(word));
  parity = V::xor_(parity, V::template shr32<8>(parity));
  parity = V::xor_(parity, V::template shr32<4>(parity));
  return V::xor_(word, V::template shl32<28>(parity));
}

// 32 values from four entries of eight; the signs of quad h of eight l are bit 4 h + l of each byte: sink(group of the
// segment, offset, weights).
template <class Format, int s, class Entries, class Sink>
LOADLINE_INLINE void signed_eights(const Entries& entries, I all_signs, Sink& sink) {
  const V::Signs<typename Format::Book> signs(all_signs);
  unrolled<4>(LOADLINE_EACH(l) {
    V::Signed first, second;
    if constexpr (V::kTables) {
      entries.template signed_eights<l>(signs, first, second);
    } else {
      I magnitudes, more;
      entries.template eights<l>(magnitudes, more);
      first = V::template with_signs<l>(magnitudes, signs);
      second = V::template with_signs<4 + l>(more, signs);
    }
    constexpr Const<Format::group_at(8 * l)> kGroupIndex{};
    sink(kGroupIndex, Const<32 * s + 8 * l>{}, first);
    sink(kGroupIndex, Const<32 * s + 8 * l + 4>{}, second);
  });
}
// Sixteen from the entries of four at `first` on.
template <class Format, int s, int first, class Entries, class Signs, class Sink>
LOADLINE_INLINE void signed_fours(const Entries& entries, const Signs& signs, Sink& sink) {
  unrolled<4>(LOADLINE_EACH(k) {
    constexpr int kQuad = first + k;
    constexpr int kBit = 4 * (kQuad % 2) + kQuad / 2;
    constexpr Const<Format::group_at(4 * kQuad)> kGroupIndex{};
    if constexpr (V::kTables) {
      sink(kGroupIndex, Const<32 * s + 4 * kQuad>{}, entries.template signed_fours<k, kBit>(signs));
    } else {
      sink(kGroupIndex, Const<32 * s + 4 * kQuad>{}, V::template with_signs<kBit>(entries.template fours<k>(), signs));
    }
  });
}

// Where unit u of the field at `offset` lies.
template <int offset>
LOADLINE_INLINE const std::byte* unit_at(const std::byte* p, int u) {
  return p + kRows * offset + static_cast<std::size_t>(u) * 64;
}

LOADLINE_INLINE F scaled_halves(const std::byte* p, float by) { return V::mul(V::halves(p), V::set(by)); }

struct IQ2_XXS : SignedCodebook<1, 43> {
  using Book = books::Iq2Xxs;
  static constexpr int kBytes = 66;
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte* block) : p(block), d(scaled_halves(block, 0.125F)) {}
    template <int g>
    LOADLINE_INLINE I integer() const {
      return odd_of<28>(unit<2>(p, 2 * g + 1));
    }
    const std::byte* p;
    F d;
  };
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    std::uint16_t memory[64];
    const auto entries = V::template entries<Book>(unit_at<2>(p, 2 * s), memory);
    signed_eights<IQ2_XXS, s>(entries, with_last_signs(unit<2>(p, 2 * s + 1)), sink);
  }
};

// The scales are half bytes in order, from the field at `offset` on.
template <int offset>
struct NibbleScales {
  explicit LOADLINE_INLINE NibbleScales(const std::byte* block, float by) : p(block), d(scaled_halves(block, by)) {}
  template <int g>
  LOADLINE_INLINE I integer() const {
    return odd_of<4 * (g % 8)>(unit<offset>(p, g / 8));
  }
  const std::byte* p;
  F d;
};

struct IQ2_XS : SignedCodebook<2, 43> {
  using Book = books::Iq2Xs;
  static constexpr int kBytes = 74;
  struct Header : NibbleScales<66> {
    explicit LOADLINE_INLINE Header(const std::byte* block) : NibbleScales(block, 0.125F) {}
  };
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    std::uint16_t memory[64];
    const I word = unit<2>(p, 2 * s + 1);
    const I ninth = V::template shift<4>(V::template fifth_bits<7>(word));
    const auto entries = V::template entries<Book>(unit_at<2>(p, 2 * s), ninth, memory);
    signed_eights<IQ2_XS, s>(entries, with_last_signs(word), sink);
  }
};

struct IQ2_S : SignedCodebook<2, 43> {
  using Book = books::Iq2S;
  static constexpr int kBytes = 82;
  struct Header : NibbleScales<74> {
    explicit LOADLINE_INLINE Header(const std::byte* block) : NibbleScales(block, 0.125F) {}
  };
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    std::uint16_t memory[64];
    const I above = V::and_(V::template shift<2 * (s % 4)>(unit<66>(p, s / 4)), V::bytes(3));
    const auto entries = V::template entries<Book>(unit_at<2>(p, s), above, memory);
    signed_eights<IQ2_S, s>(entries, unit<34>(p, s), sink);
  }
};

struct IQ3_XXS : SignedCodebook<1, 62> {
  using Book = books::Iq3Xxs;
  static constexpr int kBytes = 98;
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte* block) : p(block), d(scaled_halves(block, 0.25F)) {}
    template <int g>
    LOADLINE_INLINE I integer() const {
      return odd_of<28>(unit<66>(p, g));
    }
    const std::byte* p;
    F d;
  };
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    std::uint16_t memory[64];
    const V::Signs<Book> signs(with_last_signs(unit<66>(p, s)));
    signed_fours<IQ3_XXS, s, 0>(V::template entries<Book>(unit_at<2>(p, 2 * s), memory), signs, sink);
    signed_fours<IQ3_XXS, s, 4>(V::template entries<Book>(unit_at<2>(p, 2 * s + 1), memory), signs, sink);
  }
};

struct IQ3_S : SignedCodebook<1, 15> {
  using Book = books::Iq3S;
  static constexpr int kBytes = 110;
  struct Header : NibbleScales<106> {
    explicit LOADLINE_INLINE Header(const std::byte* block) : NibbleScales(block, 1.0F) {}
  };
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    std::uint16_t memory[2][64];
    const I ninths = unit<66>(p, s / 4);
    const V::Signs<Book> signs(unit<74>(p, s));
    unrolled<2>(LOADLINE_EACH(h) {
      const I ninth = V::and_(V::template shift<4 * h + s % 4>(ninths), V::bytes(1));
      signed_fours<IQ3_S, s, 4 * h>(V::template entries<Book>(unit_at<2>(p, 2 * s + h), ninth, memory[h]), signs, sink);
    });
  }
};

// Four numbers of three bits, `step` bits from one to the next, from `first` on as the bytes of a lane.
template <int first, int step>
LOADLINE_INLINE I threes_as_bytes(I v) {
  I x = v;
  if constexpr (first > 0) x = V::template shr32<first>(v);
  I bytes = V::and_(x, V::ints(7));
  bytes = V::or_and(bytes, V::template shl32<8 - step>(x), V::ints(7 << 8));
  bytes = V::or_and(bytes, V::template shl32<16 - 2 * step>(x), V::ints(7 << 16));
  return V::or_and(bytes, V::template shl32<24 - 3 * step>(x), V::ints(7 << 24));
}

// Entry l of eight values without signs, times 2 to the power of `place`.
template <int l, int place, class Entries>
LOADLINE_INLINE void plain_eights(const Entries& entries, I& first, I& second) {
  if constexpr (V::kTables) {
    entries.template plain_eights<l, place>(first, second);
  } else {
    entries.template eights<l>(first, second);
    first = V::template shift<-place>(first);
    second = V::template shift<-place>(second);
  }
}

// The codebook has the values plus 1: what that is too much, and delta, are mins of 7/8 and 9/8 of the scale.
struct IQ1_S : GroupsOfSegment<1> {
  using Book = books::Iq1;
  static constexpr int kBytes = 50;
  static constexpr bool kSigned = false;
  static constexpr int kMost = 2;
  static constexpr Mins kMins = Mins::Pairs32;
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte* block)
        : p(block), d(V::halves(block)), negative_dmin(scaled_halves(block, -0.125F)) {}
    template <int g>
    LOADLINE_INLINE I integer() const {
      return odd_of<16 * (g % 2) + 12, 7>(unit<34>(p, g / 2));
    }
    // Those of groups 4 i on, in order.
    LOADLINE_INLINE I min(int i) const {
      const I low = two_mins(unit<34>(p, 2 * i));
      const I high = two_mins(unit<34>(p, 2 * i + 1));
      return V::or_(low, V::template shl32<16>(high));
    }
    LOADLINE_INLINE BytePairs min_pairs(int i) const { return byte_pairs(min(i)); }
    static LOADLINE_INLINE I two_mins(I words) {
      const I s = V::and_(V::template shift<12>(words), V::words(7));
      const I scale = V::add16(V::add16(s, s), V::words(1));
      const I negative = V::template shift<15>(words);
      const I mins = V::mul16(scale, V::add16(V::add16(negative, negative), V::words(7)));
      return V::and_(V::or_(mins, V::template shr32<8>(mins)), V::ints(0xFFFF));
    }
    const std::byte* p;
    F d, negative_dmin;
  };
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    std::uint16_t memory[64];
    const I above = threes_as_bytes<16 * (s % 2), 3>(unit<34>(p, s / 2));
    const auto entries = V::template entries<Book>(unit_at<2>(p, s), above, memory);
    unrolled<4>(LOADLINE_EACH(l) {
      I first, second;
      plain_eights<l, 0>(entries, first, second);
      sink(Const<0>{}, Const<32 * s + 8 * l>{}, first);
      sink(Const<0>{}, Const<32 * s + 8 * l + 4>{}, second);
    });
  }
};

// Four times the values plus 4, and 1 more where delta is positive: then 4.5 scales too much.
struct IQ1_M : GroupsOfSegment<2> {
  using Book = books::Iq1;
  static constexpr int kBytes = 56;
  static constexpr bool kSigned = false;
  static constexpr int kMost = 9;
  static constexpr Mins kMins = Mins::Pairs16;
  struct Header {
    explicit LOADLINE_INLINE Header(const std::byte* block) : p(block) {
      // The top four bits of four words, in order.
      const I first = V::and_(unit<48>(block, 0), V::words(0xF000));
      const I second = V::and_(unit<48>(block, 1), V::words(0xF000));
      I bits = V::or_(V::template shr32<12>(first), V::template shr32<24>(first));
      bits = V::or_(bits, V::or_(V::template shr32<4>(second), V::template shr32<16>(second)));
      alignas(32) std::uint16_t halves[16];
      V::store_shorts(halves, V::or_and(V::and_(bits, V::ints(0x0F0F)), bits, V::ints(0xF0F0)));
      d = V::mul(V::halves(halves), V::set(0.25F));
      negative_dmin = V::mul(d, V::set(-4.5F));
    }
    template <int g>
    LOADLINE_INLINE I integer() const {
      return odd_of<g / 4 % 2 * 16 + g % 4 * 3, 7>(unit<48>(p, g / 8));
    }
    LOADLINE_INLINE I min(int i) const {
      const I words = unit<48>(p, i / 2);
      const I s = i % 2 == 0 ? threes_as_bytes<0, 3>(words) : threes_as_bytes<16, 3>(words);
      return V::add8(V::add8(s, s), V::bytes(1));
    }
    LOADLINE_INLINE BytePairs min_pairs(int i) const { return byte_pairs(min(i)); }
    const std::byte* p;
    F d, negative_dmin;
  };
  template <int s, class Sink>
  static LOADLINE_INLINE void segment(const std::byte* p, Sink&& sink) {
    std::uint16_t memory[64];
    const I high = unit<32>(p, s / 2);
    const auto entries = V::template entries<Book>(unit_at<0>(p, s), threes_as_bytes<16 * (s % 2), 4>(high), memory);
    unrolled<4>(LOADLINE_EACH(l) {
      I first, second;
      plain_eights<l, 2>(entries, first, second);
      // -1 in every byte where delta is negative.
      const I negative = V::template sra32<31>(V::template shl32<28 - 16 * (s % 2) - 4 * l>(high));
      const I delta = V::add8(negative, V::bytes(1));
      sink(Const<l / 2>{}, Const<32 * s + 8 * l>{}, V::add8(first, delta));
      sink(Const<l / 2>{}, Const<32 * s + 8 * l + 4>{}, V::add8(second, delta));
    });
  }
};

}  // namespace
}  // namespace loadline::cpu
