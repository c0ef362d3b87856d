// The primitives the generic kernels are written in, for AVX-512 with VNNI (F, BW, DQ, VL, VNNI). VBMI, where there is
// such, looks up codebooks. Only translation units for these sets and for AMX include this; everything has internal
// linkage.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __AMX_TILE__
#define LOADLINE_ISA amx
#elif defined(__AVX512VBMI__)
#define LOADLINE_ISA avx512vbmi
#define LOADLINE_REST avx512  // which other products are taken from
#else
#define LOADLINE_ISA avx512
#endif
#define LOADLINE_INLINE __attribute__((always_inline)) inline

namespace loadline::cpu {
namespace {

struct V {
  using I = __m512i;  // 16 lanes (rows, cells) of 4 bytes
  using F = __m512;   // 16 floats

  // The unsigned operand of the dot product cannot hold a signed weight: it is stored plus this, and the accumulator
  // starts from minus this times the sum of the activations.
  static constexpr int kSignedOffset = 128;
  static constexpr int kLargest = 255;  // of the unsigned operand of the dot product
  // Whether products of unsigned weights of up to 6 bits are cheaper than those of 8 bits: then such weights stay as
  // they are.
  static constexpr bool kNarrow = false;
  // How far ahead streams are fetched, see generic_products.h. (Best over the formats of 0.25 to 4 KiB and 1.5 to 8 KiB
  // on an Intel server processor.)
  static constexpr std::size_t kNear = 1792;
  static constexpr std::size_t kFar = 3328;
  // Tokens that quantised weights are multiplied with at once straight from tiles.
  static constexpr int kDirect = 4;
  static constexpr int kFewTokens = 8;  // and straight from the stream at all
  // Whether several tiles share what is loaded of such tokens: how far ahead then (0.5 to 9 KiB were tried, on Zen 5).
  static constexpr std::size_t kSharedNear = 4608;
  // Register tile of the matrix product: 2 x 6 integer and as many float accumulators, and 8 registers for the rest.
  static constexpr int kTiles = 2;
  static constexpr int kTokens = 6;
  // And of attention: rows times two vectors of cells, rows times vectors of dimensions.
  static constexpr int kScoreRows = 6;
  static constexpr int kValueRows = 6;
  static constexpr int kValueVectors = 4;

  static LOADLINE_INLINE I load(const void* p) { return _mm512_loadu_si512(p); }
  static LOADLINE_INLINE void store(void* p, I v) { _mm512_storeu_si512(p, v); }
  static LOADLINE_INLINE I zero() { return _mm512_setzero_si512(); }
  static LOADLINE_INLINE I bytes(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  static LOADLINE_INLINE I words(int v) { return _mm512_set1_epi16(static_cast<short>(v)); }
  static LOADLINE_INLINE I ints(int v) { return _mm512_set1_epi32(v); }
  // The same 4 bytes in every lane.
  static LOADLINE_INLINE I repeat(const void* p) {
    std::int32_t v;
    std::memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
  }
  static LOADLINE_INLINE I repeat_anew(const void* p) { return repeat(p); }

  static LOADLINE_INLINE I and_(I a, I b) { return _mm512_and_si512(a, b); }
  static LOADLINE_INLINE I or_(I a, I b) { return _mm512_or_si512(a, b); }
  static LOADLINE_INLINE I xor_(I a, I b) { return _mm512_xor_si512(a, b); }
  static LOADLINE_INLINE I or_and(I a, I b, I mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xF8); }
  // Shifts of 16-bit units, n > 0 to the right and n < 0 to the left; the bits that cross bytes are the caller's to
  // mask.
  template <int n>
  static LOADLINE_INLINE I shift(I v) {
    if constexpr (n > 0) return _mm512_srli_epi16(v, n);
    if constexpr (n < 0) return _mm512_slli_epi16(v, -n);
    return v;
  }
  template <int n>
  static LOADLINE_INLINE I shr32(I v) {
    return _mm512_srli_epi32(v, n);
  }
  template <int n>
  static LOADLINE_INLINE I shl32(I v) {
    return _mm512_slli_epi32(v, n);
  }
  template <int n>
  static LOADLINE_INLINE I sra32(I v) {
    return _mm512_srai_epi32(v, n);
  }
  // 0 in place of the bytes that are `value`.
  static LOADLINE_INLINE I without(I v, int value) {
    return _mm512_maskz_mov_epi8(_mm512_cmpneq_epi8_mask(v, bytes(value)), v);
  }
  static LOADLINE_INLINE I add8(I a, I b) { return _mm512_add_epi8(a, b); }
  static LOADLINE_INLINE I add16(I a, I b) { return _mm512_add_epi16(a, b); }
  static LOADLINE_INLINE I sub16(I a, I b) { return _mm512_sub_epi16(a, b); }
  static LOADLINE_INLINE I add32(I a, I b) { return _mm512_add_epi32(a, b); }
  static LOADLINE_INLINE I sub32(I a, I b) { return _mm512_sub_epi32(a, b); }
  static LOADLINE_INLINE I mul16(I a, I b) { return _mm512_mullo_epi16(a, b); }
  // table[index] bytewise; `table` points to 16 bytes, the indices are below 16.
  static LOADLINE_INLINE I lookup(I table, I index) { return _mm512_shuffle_epi8(table, index); }
  static LOADLINE_INLINE I table16(const std::int8_t* p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  // Every lane's byte j as both of its 16-bit halves.
  template <int j>
  static LOADLINE_INLINE I byte_twice(I v) {
    constexpr int kOrder = static_cast<int>(0x80008000) + j * 0x00010001;
    return _mm512_shuffle_epi8(
        v, _mm512_set4_epi32(kOrder + 0x000C000C, kOrder + 0x00080008, kOrder + 0x00040004, kOrder));
  }
  // The low 16 bits of each lane of `low`, and above them 16 bits of `high` from bit `place` on.
  template <int place>
  static LOADLINE_INLINE I halves_of(I low, I high) {
    return _mm512_mask_blend_epi16(0xAAAAAAAA, low, _mm512_slli_epi32(high, 16 - place));
  }
  // 0x10 in byte i of a lane whose bit 4 c + i is set.
  template <int c>
  static LOADLINE_INLINE I fifth_bits(I v) {
    constexpr int kByte = c / 2 * 0x01010101;
    const I spread =
        _mm512_shuffle_epi8(v, _mm512_set4_epi32(0x0C0C0C0C + kByte, 0x08080808 + kByte, 0x04040404 + kByte, kByte));
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(spread, ints(c % 2 == 0 ? 0x08040201 : 0x80402010)),
                                 bytes(0x10));
  }

  // Sums of products of 4 bytes in each lane: weights of at most `most`, unsigned, or signed ones plus kSignedOffset
  // where `most` is 255, times signed activations.
  template <int most>
  struct Dots {
    I sum;
    static LOADLINE_INLINE Dots from(I start) { return {start}; }
    LOADLINE_INLINE void add(I weights, I x) { sum = _mm512_dpbusd_epi32(sum, weights, x); }
    [[nodiscard]] LOADLINE_INLINE I total() const { return sum; }
  };
  // Adds the sum of the products of the two signed halves.
  static LOADLINE_INLINE I dot16(I sum, I a, I b) { return _mm512_dpwssd_epi32(sum, a, b); }
  // Weights of at most 127 with their signs, bit `bit` of each byte of `signs`, plus kSignedOffset.
  using Signed = I;
  static I multiply_signed(Signed weights, I x);  // these two are for signs that come apart
  template <int bias>
  static I biased(Signed weights);
  template <int bit>
  static LOADLINE_INLINE Signed with_signs(I magnitudes, I signs) {
    return negated<bit>(or_(magnitudes, bytes(kSignedOffset)), signs);
  }
  // 256 less those whose sign is set.
  template <int bit>
  static LOADLINE_INLINE Signed negated(I raised, I signs) {
    return _mm512_mask_sub_epi8(raised, _mm512_test_epi8_mask(signs, bytes(1 << bit)), zero(), raised);
  }

  // The entries that four indices of each of 16 rows stand for: the bytes of a unit, which lies at `unit`, or those and
  // as many bits above them.
  template <class Book>
  struct Entries {
    I low, high;
    template <int l>
    LOADLINE_INLINE void eights(I& first, I& second) const {
      const std::uint64_t* table = Book::kGrid.data();
      const I index = at<l>();
      const I some = _mm512_i32gather_epi64(_mm512_castsi512_si256(index), table, 8);
      const I others = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(index, 1), table, 8);
      const I even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
      first = _mm512_permutex2var_epi32(some, even, others);
      second = _mm512_permutex2var_epi32(some, _mm512_add_epi32(even, ints(1)), others);
    }
    template <int l>
    LOADLINE_INLINE I fours() const {
      return _mm512_i32gather_epi32(at<l>(), Book::kGrid.data(), 4);
    }

   private:
    template <int l>
    LOADLINE_INLINE I at() const {
      const I low_byte = and_(shr32<8 * l>(low), ints(0xFF));
      return or_(low_byte, and_(l == 0 ? shl32<8>(high) : shr32 < l == 0 ? 0 : 8 * l - 8 > (high), ints(0xFF00)));
    }
  };
#ifdef __AVX512VBMI__
  // All 64 are looked up at once, in registers, as codes; the codes of one index of each row are then spread to bytes,
  // and what they stand for is looked up with their signs.
  static constexpr bool kTables = true;
  template <class Book>
  struct Codes {
    I low, high;
    template <int l, class Signs>
    LOADLINE_INLINE void signed_eights(const Signs& signs, Signed& first, Signed& second) const {
      first = signs.template level<l>(spread_two<l>(low));
      second = signs.template level<4 + l>(spread_two<l>(high));
    }
    // Of a codebook whose codes are its values: times 2 to the power of `place`.
    template <int l, int place>
    LOADLINE_INLINE void plain_eights(I& first, I& second) const {
      first = and_(spread_two<l, place>(low), bytes(3 << place));
      second = and_(spread_two<l, place>(high), bytes(3 << place));
    }
    // Bit `bit` has the signs.
    template <int l, int bit, class Signs>
    LOADLINE_INLINE Signed signed_fours(const Signs& signs) const {
      constexpr std::int64_t kPlaces = spread(8 * l, 4, 0, 4);
      const I places = _mm512_set1_epi64(kPlaces);
      const I codes = _mm512_mask_multishift_epi64_epi8(_mm512_multishift_epi64_epi8(places, low), 0xCCCCCCCCCCCCCCCC,
                                                        places, high);
      if constexpr (Book::kGrid.size() > 256) {  // whose tables leave no registers for those of all places of signs
        // Bit 3 of a code is 0: that is 128 and the magnitude.
        return negated<bit>(_mm512_permutexvar_epi8(codes, load(Book::kCodes.signed_levels[1].data())), signs.in_place);
      } else {
        return signs.template level<bit>(codes);
      }
    }

   private:
    // Bytes of two rows from bit `first` on of what is the first row's half, and of the second's.
    static constexpr std::int64_t spread(int first, int second, int third, int fourth) {
      const int offsets[] = {first, first + second, first + third, first + fourth};
      std::int64_t places = 0;
      for (int i = 0; i < 8; ++i) places |= static_cast<std::int64_t>((offsets[i % 4] + i / 4 * 32) & 63) << (8 * i);
      return places;
    }
    template <int l, int place = 0>
    static LOADLINE_INLINE I spread_two(I codes) {
      constexpr std::int64_t kPlaces = spread(8 * l - place, 2, 4, 6);
      return _mm512_multishift_epi64_epi8(_mm512_set1_epi64(kPlaces), codes);
    }
  };
  // The signs of 32 values: bit t of each byte is that of a code, and is brought where the code has none.
  template <class Book>
  struct Signs {
    static constexpr int kCodeBits = sizeof(Book::kGrid[0]) == 8 ? 2 : 3;
    I in_place, moved_up, moved_down;
    explicit LOADLINE_INLINE Signs(I all)
        : in_place(all), moved_up(shift<kCodeBits - 6>(all)), moved_down(shift<6 - kCodeBits>(all)) {}
    template <int bit>
    [[nodiscard]] LOADLINE_INLINE Signed level(I codes) const {
      constexpr int kMoved = bit < kCodeBits ? 6 - kCodeBits : bit > 5 ? kCodeBits - 6 : 0;
      const I signs = kMoved > 0 ? moved_up : kMoved < 0 ? moved_down : in_place;
      const I index = _mm512_ternarylogic_epi32(codes, signs, bytes((1 << kCodeBits) - 1), 0xE4);
      return _mm512_permutexvar_epi8(index, load(Book::kCodes.signed_levels[bit + kMoved - 2].data()));
    }
  };
  // Bytes of `table` at the indices that are bytes of `low` and, above them, the lowest bits of those of `high`.
  template <std::size_t count>
  static LOADLINE_INLINE I looked_up(const std::uint8_t* table, I low, I high) {
    if constexpr (count == 128) {
      return _mm512_permutex2var_epi8(load(table), low, load(table + 64));
    } else {
      const I first = looked_up<count / 2>(table, low, high);
      const I second = looked_up<count / 2>(table + count / 2, low, high);
      const __mmask64 in_second =
          count == 256 ? _mm512_movepi8_mask(low) : _mm512_test_epi8_mask(high, bytes(static_cast<int>(count / 512)));
      return _mm512_mask_blend_epi8(in_second, first, second);
    }
  }
#else
  static constexpr bool kTables = false;  // of 256 bytes and more, to look weights up in
  template <std::size_t count>
  static I looked_up(const std::uint8_t* table, I low, I high);  // only where there are
  template <class Book>
  using Signs = I;
#endif
  template <class Book>
  static LOADLINE_INLINE auto entries(const std::byte* unit, std::uint16_t (&memory)[64]) {
    return entries<Book>(unit, zero(), memory);
  }
  template <class Book>
  static LOADLINE_INLINE auto entries(const std::byte* unit, I high, std::uint16_t (&)[64]) {
#ifdef __AVX512VBMI__
    if constexpr (requires { Book::kCodes; }) {
      constexpr std::size_t kCount = Book::kGrid.size();
      const I index = load(unit);
      return Codes<Book>{looked_up<kCount>(Book::kCodes.low.data(), index, high),
                         looked_up<kCount>(Book::kCodes.high.data(), index, high)};
    } else
#endif
    {
      return Entries<Book>{load(unit), high};
    }
  }

  static LOADLINE_INLINE F to_float(I v) { return _mm512_cvtepi32_ps(v); }
  static LOADLINE_INLINE I round_to_int(F v) { return _mm512_cvtps_epi32(v); }
  static LOADLINE_INLINE F as_float(I v) { return _mm512_castsi512_ps(v); }
  static LOADLINE_INLINE I as_int(F v) { return _mm512_castps_si512(v); }

  // 16 values of memory as lanes.
  static LOADLINE_INLINE F halves(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static LOADLINE_INLINE float half(std::uint16_t bits) { return _cvtsh_ss(bits); }
  static LOADLINE_INLINE void store_halves(void* p, F v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static LOADLINE_INLINE I shorts(const void* p) {  // unsigned
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static LOADLINE_INLINE I chars(const void* p) {  // signed
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  // Stores the low 8 or 16 bits of each lane.
  static LOADLINE_INLINE void store_chars(void* p, I v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
  }
  static LOADLINE_INLINE void store_shorts(void* p, I v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v));
  }

  static LOADLINE_INLINE F load_f(const float* p) { return _mm512_loadu_ps(p); }
  static LOADLINE_INLINE void store_f(float* p, F v) { _mm512_storeu_ps(p, v); }
  static LOADLINE_INLINE F zero_f() { return _mm512_setzero_ps(); }
  static LOADLINE_INLINE F set(float v) { return _mm512_set1_ps(v); }
  static LOADLINE_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static LOADLINE_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static LOADLINE_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static LOADLINE_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  static LOADLINE_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
  static LOADLINE_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
  static LOADLINE_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static LOADLINE_INLINE float sum(F v) { return _mm512_reduce_add_ps(v); }
  static LOADLINE_INLINE float largest(F v) { return _mm512_reduce_max_ps(v); }
  static LOADLINE_INLINE bool any_greater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
  static LOADLINE_INLINE int sum_ints(I v) { return _mm512_reduce_add_epi32(v); }
  static LOADLINE_INLINE I max_ints(I a, I b) { return _mm512_max_epi32(a, b); }
  static LOADLINE_INLINE int largest_int(I v) { return _mm512_reduce_max_epi32(v); }

  // Into the cache next to the core, and into the one behind it. Not the intrinsic: the compiler moves those together
  // to where a block begins, and memory then idles until its end.
  static LOADLINE_INLINE void prefetch(const void* p) {
    asm volatile("prefetcht0 %0" : : "m"(*static_cast<const char*>(p)));
  }
  static LOADLINE_INLINE void prefetch_far(const void* p) {
    asm volatile("prefetcht1 %0" : : "m"(*static_cast<const char*>(p)));
  }
};

}  // namespace
}  // namespace loadline::cpu
