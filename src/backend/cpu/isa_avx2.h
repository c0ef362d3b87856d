// The primitives the generic kernels are written in, for AVX2 with FMA and F16C; compiled with AVX-VNNI, 8-bit dot
// products use it. Two registers make 16 lanes. Only translation units for
// these sets include this; everything has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __AVXVNNI__
#define LOADLINE_ISA avxvnni
#else
#define LOADLINE_ISA avx2
#endif
#define LOADLINE_INLINE __attribute__((always_inline)) inline

namespace loadline::cpu {
namespace {

struct V {
  struct I {  // 16 lanes (rows, cells) of 4 bytes
    __m256i lo, hi;
  };
  struct F {  // 16 floats
    __m256 lo, hi;
  };

#ifdef __AVXVNNI__
  static constexpr int kSignedOffset = 128;
  static constexpr int kLargest = 255;
  static constexpr bool kNarrow = false;
#else
  // Products are summed in 16 bits first, so that the unsigned operand cannot be a signed weight plus 128: signed ones
  // are multiplied by their magnitude with the activation's sign changed.
  static constexpr int kSignedOffset = 0;
  static constexpr int kLargest = 128;
  static constexpr bool kNarrow = true;
#endif
  // How far ahead streams are fetched, see generic_products.h: once, as the instructions are needed for multiplying.
  // (Best over the formats of 2 to 8 KiB, and of pairs with a second distance, on an Intel server processor.)
  static constexpr std::size_t kNear = 3328;
  static constexpr std::size_t kFar = 0;
  static constexpr int kDirect = 2;
  static constexpr int kFewTokens = 4;  // and straight from the stream at all
  // Whether several tiles share what is loaded of such tokens: not at all.
  static constexpr std::size_t kSharedNear = 0;
  static constexpr int kTiles = 1;
  static constexpr int kTokens = 4;
  static constexpr int kScoreRows = 2;
  static constexpr int kValueRows = 2;
  static constexpr int kValueVectors = 2;

  static LOADLINE_INLINE I load(const void* p) {
    const auto* q = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
  }
  static LOADLINE_INLINE void store(void* p, I v) {
    auto* q = static_cast<__m256i*>(p);
    _mm256_storeu_si256(q, v.lo);
    _mm256_storeu_si256(q + 1, v.hi);
  }
  static LOADLINE_INLINE I both(__m256i v) { return {v, v}; }
  static LOADLINE_INLINE I zero() { return both(_mm256_setzero_si256()); }
  static LOADLINE_INLINE I bytes(int v) { return both(_mm256_set1_epi8(static_cast<char>(v))); }
  static LOADLINE_INLINE I words(int v) { return both(_mm256_set1_epi16(static_cast<short>(v))); }
  static LOADLINE_INLINE I ints(int v) { return both(_mm256_set1_epi32(v)); }
  // The same 4 bytes in every lane.
  static LOADLINE_INLINE I repeat(const void* p) {
    std::int32_t v;
    std::memcpy(&v, p, 4);
    return ints(v);
  }
  // The same, loaded every time: where many different ones are needed, the compiler would keep each from its first use
  // to its last, for which there are too few registers, and store and load it, and much else, instead of this one load.
  static LOADLINE_INLINE I repeat_anew(const void* p) {
    __m256i v;
    asm volatile("vpbroadcastd %1, %0" : "=x"(v) : "m"(*static_cast<const char(*)[4]>(p)));
    return both(v);
  }

  static LOADLINE_INLINE I and_(I a, I b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
  static LOADLINE_INLINE I or_(I a, I b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
  static LOADLINE_INLINE I xor_(I a, I b) { return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)}; }
  static LOADLINE_INLINE I or_and(I a, I b, I mask) { return or_(a, and_(b, mask)); }
  // Shifts of 16-bit units, n > 0 to the right and n < 0 to the left; the bits that cross bytes are the caller's to
  // mask.
  template <int n>
  static LOADLINE_INLINE I shift(I v) {
    if constexpr (n > 0) return {_mm256_srli_epi16(v.lo, n), _mm256_srli_epi16(v.hi, n)};
    if constexpr (n < 0) return {_mm256_slli_epi16(v.lo, -n), _mm256_slli_epi16(v.hi, -n)};
    return v;
  }
  template <int n>
  static LOADLINE_INLINE I shr32(I v) {
    return {_mm256_srli_epi32(v.lo, n), _mm256_srli_epi32(v.hi, n)};
  }
  template <int n>
  static LOADLINE_INLINE I shl32(I v) {
    return {_mm256_slli_epi32(v.lo, n), _mm256_slli_epi32(v.hi, n)};
  }
  template <int n>
  static LOADLINE_INLINE I sra32(I v) {
    return {_mm256_srai_epi32(v.lo, n), _mm256_srai_epi32(v.hi, n)};
  }
  // 0 in place of the bytes that are `value`.
  static LOADLINE_INLINE I without(I v, int value) {
    const I other = bytes(value);
    return {_mm256_andnot_si256(_mm256_cmpeq_epi8(v.lo, other.lo), v.lo),
            _mm256_andnot_si256(_mm256_cmpeq_epi8(v.hi, other.hi), v.hi)};
  }
  static LOADLINE_INLINE I add8(I a, I b) { return {_mm256_add_epi8(a.lo, b.lo), _mm256_add_epi8(a.hi, b.hi)}; }
  static LOADLINE_INLINE I add16(I a, I b) { return {_mm256_add_epi16(a.lo, b.lo), _mm256_add_epi16(a.hi, b.hi)}; }
  static LOADLINE_INLINE I sub16(I a, I b) { return {_mm256_sub_epi16(a.lo, b.lo), _mm256_sub_epi16(a.hi, b.hi)}; }
  static LOADLINE_INLINE I add32(I a, I b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
  static LOADLINE_INLINE I sub32(I a, I b) { return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
  static LOADLINE_INLINE I mul16(I a, I b) { return {_mm256_mullo_epi16(a.lo, b.lo), _mm256_mullo_epi16(a.hi, b.hi)}; }
  static LOADLINE_INLINE I shuffle(I v, I order) {
    return {_mm256_shuffle_epi8(v.lo, order.lo), _mm256_shuffle_epi8(v.hi, order.hi)};
  }
  // table[index] bytewise; `table` points to 16 bytes, the indices are below 16.
  static LOADLINE_INLINE I lookup(I table, I index) { return shuffle(table, index); }
  static LOADLINE_INLINE I table16(const std::int8_t* p) {
    return both(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  // The same 4 numbers in every 4 lanes.
  static LOADLINE_INLINE I quads(int d, int c, int b, int a) {
    return both(_mm256_broadcastsi128_si256(_mm_set_epi32(d, c, b, a)));
  }
  // Every lane's byte j as both of its 16-bit halves.
  template <int j>
  static LOADLINE_INLINE I byte_twice(I v) {
    constexpr int kOrder = static_cast<int>(0x80008000) + j * 0x00010001;
    return shuffle(v, quads(kOrder + 0x000C000C, kOrder + 0x00080008, kOrder + 0x00040004, kOrder));
  }
  // The low 16 bits of each lane of `low`, and above them 16 bits of `high` from bit `place` on.
  template <int place>
  static LOADLINE_INLINE I halves_of(I low, I high) {
    return {_mm256_blend_epi16(low.lo, _mm256_slli_epi32(high.lo, 16 - place), 0xAA),
            _mm256_blend_epi16(low.hi, _mm256_slli_epi32(high.hi, 16 - place), 0xAA)};
  }
  // 0x10 in byte i of a lane whose bit 4 c + i is set.
  template <int c>
  static LOADLINE_INLINE I fifth_bits(I v) {
    constexpr int kByte = c / 2 * 0x01010101;
    const I spread = shuffle(v, quads(0x0C0C0C0C + kByte, 0x08080808 + kByte, 0x04040404 + kByte, kByte));
    const I bits = ints(c % 2 == 0 ? 0x08040201 : static_cast<int>(0x80402010));
    const I found = and_(spread, bits);
    return and_({_mm256_cmpeq_epi8(found.lo, bits.lo), _mm256_cmpeq_epi8(found.hi, bits.hi)}, bytes(0x10));
  }

  // Sums of products of 4 bytes in each lane: weights of at most `most`, unsigned, or signed ones plus kSignedOffset
  // where `most` is 255, times signed activations.
#ifdef __AVXVNNI__
  template <int most>
  struct Dots {
    I sum;
    static LOADLINE_INLINE Dots from(I start) { return {start}; }
    LOADLINE_INLINE void add(I weights, I x) {
      sum = {_mm256_dpbusd_avx_epi32(sum.lo, weights.lo, x.lo), _mm256_dpbusd_avx_epi32(sum.hi, weights.hi, x.hi)};
    }
    [[nodiscard]] LOADLINE_INLINE I total() const { return sum; }
  };
  static LOADLINE_INLINE I dot16(I sum, I a, I b) {
    return {_mm256_dpwssd_avx_epi32(sum.lo, a.lo, b.lo), _mm256_dpwssd_avx_epi32(sum.hi, a.hi, b.hi)};
  }
#else
  // How many sums of two products 16 bits hold, a power of two.
  static constexpr int run_of(int most) { return most > 63 ? 1 : most > 31 ? 2 : most > 15 ? 4 : 8; }
  template <int most>
  struct Dots {
    static constexpr int kRun = run_of(most);
    // The same for weights times 2 to the power of `place`.
    static constexpr int run_at(int place) { return run_of(most << place); }
    static_assert(most >= 128 || kRun * 2 * 127 * most < 32768);
    I sum, run;
    int steps;  // in `run`; a constant wherever loops are unrolled
    static LOADLINE_INLINE Dots from(I start) { return {start, zero(), 0}; }
    LOADLINE_INLINE void add(I weights, I x) { add_pairs(pairs(weights, x)); }
    [[nodiscard]] LOADLINE_INLINE I total() const { return steps == 0 ? sum : add32(sum, widen(run)); }

    // The products summed in pairs, as 16 bits.
    static LOADLINE_INLINE I pairs(I weights, I x) {
      return most >= 128 ? multiply_signed(weights, x) : multiply(weights, x);
    }
    // The same for signed weights but -128, where the magnitudes of x are at hand: it saves taking the weights'.
    static LOADLINE_INLINE I pairs(I weights, I x, I magnitudes) {
      return multiply(magnitudes, {_mm256_sign_epi8(weights.lo, x.lo), _mm256_sign_epi8(weights.hi, x.hi)});
    }
    static LOADLINE_INLINE void magnitudes(const std::int8_t* x, std::int8_t* out) { store(out, magnitude(load(x))); }
    LOADLINE_INLINE void add_pairs(I products) {
      run = add16(run, products);
      if (++steps < kRun) return;
      sum = add32(sum, widen(run));
      run = zero();
      steps = 0;
    }
    // Sums times scale(), the same in both halves of every lane, which is no work: it takes the place of the ones that
    // widen the sums. After `length` that are added they go to `all`.
    template <int length, class Scale>
    LOADLINE_INLINE void add_scaled(I products, Scale&& scale, I& all) {
      run = steps == 0 ? products : add16(run, products);
      if (++steps < length) return;
      all = dot16(all, run, scale());
      steps = 0;
    }
  };
  static LOADLINE_INLINE I multiply(I weights, I x) {
    return {_mm256_maddubs_epi16(weights.lo, x.lo), _mm256_maddubs_epi16(weights.hi, x.hi)};
  }
  static LOADLINE_INLINE I magnitude(I v) { return {_mm256_abs_epi8(v.lo), _mm256_abs_epi8(v.hi)}; }
  // |weights| is at most 128 and |x| at most 127, so that two products fit.
  static LOADLINE_INLINE I multiply_signed(I weights, I x) {
    return multiply(magnitude(weights), {_mm256_sign_epi8(x.lo, weights.lo), _mm256_sign_epi8(x.hi, weights.hi)});
  }
  static LOADLINE_INLINE I widen(I v) {
    const __m256i ones = _mm256_set1_epi16(1);
    return {_mm256_madd_epi16(v.lo, ones), _mm256_madd_epi16(v.hi, ones)};
  }
  // Adds the sum of the products of the two signed halves.
  static LOADLINE_INLINE I dot16(I sum, I a, I b) {
    return add32(sum, {_mm256_madd_epi16(a.lo, b.lo), _mm256_madd_epi16(a.hi, b.hi)});
  }
#endif
#ifdef __AVXVNNI__  // Weights of at most 127 and their signs: bit `bit` of each byte of `signs`.
  using Signed = I;
  template <int bit>
  static LOADLINE_INLINE Signed with_signs(I w, I signs) {
    return xor_(negated(w, shift<bit - 7>(signs)), bytes(kSignedOffset));
  }
  static I multiply_signed(Signed weights, I x);  // these two are for signs that come apart
  template <int bias>
  static I biased(Signed weights);
#else
  // They are multiplied as they are: the activations take the signs.
  struct Signed {
    I magnitudes, signs;
  };
  template <int bit>
  static LOADLINE_INLINE Signed with_signs(I magnitudes, I signs) {
    return {magnitudes, or_(shift<bit - 7>(signs), bytes(1))};
  }
  static LOADLINE_INLINE I multiply_signed(Signed weights, I x) {
    return multiply(weights.magnitudes,
                    {_mm256_sign_epi8(x.lo, weights.signs.lo), _mm256_sign_epi8(x.hi, weights.signs.hi)});
  }
  // As unsigned weights that are `bias` more; magnitudes are below it.
  template <int bias>
  static LOADLINE_INLINE I biased(Signed weights) {
    return add8({_mm256_sign_epi8(weights.magnitudes.lo, weights.signs.lo),
                 _mm256_sign_epi8(weights.magnitudes.hi, weights.signs.hi)},
                bytes(bias));
  }
#endif
  static LOADLINE_INLINE I negated(I magnitudes, I signs) {
    const I nonzero = or_(signs, bytes(1));
    return {_mm256_sign_epi8(magnitudes.lo, nonzero.lo), _mm256_sign_epi8(magnitudes.hi, nonzero.hi)};
  }

  // The entries that four indices of each of 16 rows stand for: the bytes of a unit, which lies at `unit`, or those and
  // as many bits above them. Scalar loads: gathering takes longer on many processors.
  static constexpr bool kTables = false;  // of 256 bytes and more, to look weights up in
  template <std::size_t count>
  static I looked_up(const std::uint8_t* table, I low, I high);  // only where there are
  template <class Book>
  using Signs = I;
  template <class Book, class Index>
  struct Entries {
    // Index l of row r is 4 r + l.
    const Index* index;
    template <int l>
    LOADLINE_INLINE void eights(I& first, I& second) const {
      const __m256i even = four<l, 0>();
      const __m256i odd = four<l, 2>();
      const __m256i more_even = four<l, 8>();
      const __m256i more_odd = four<l, 10>();
      first = {shuffled<0x88>(even, odd), shuffled<0x88>(more_even, more_odd)};
      second = {shuffled<0xDD>(even, odd), shuffled<0xDD>(more_even, more_odd)};
    }
    template <int l>
    LOADLINE_INLINE I fours() const {
      return {eight<l, 0>(), eight<l, 8>()};
    }

   private:
    // The entries of rows r, r + 1, r + 4 and r + 5.
    template <int l, int r>
    LOADLINE_INLINE __m256i four() const {
      const __m128i low = two<l, r>();
      const __m128i high = two<l, r + 4>();
      return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    }
    template <int l, int r>
    LOADLINE_INLINE __m128i two() const {
      const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(Book::kGrid.data() + index[4 * r + l]));
      return _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(low),
                                           reinterpret_cast<const double*>(Book::kGrid.data() + index[4 * r + 4 + l])));
    }
    template <int l, int r>
    LOADLINE_INLINE __m256i eight() const {
      const __m128i low = quarter<l, r>();
      const __m128i high = quarter<l, r + 4>();
      return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    }
    template <int l, int r>
    LOADLINE_INLINE __m128i quarter() const {
      __m128i v = _mm_cvtsi32_si128(static_cast<int>(Book::kGrid.data()[index[4 * r + l]]));
      v = _mm_insert_epi32(v, static_cast<int>(Book::kGrid.data()[index[4 * r + 4 + l]]), 1);
      v = _mm_insert_epi32(v, static_cast<int>(Book::kGrid.data()[index[4 * r + 8 + l]]), 2);
      return _mm_insert_epi32(v, static_cast<int>(Book::kGrid.data()[index[4 * r + 12 + l]]), 3);
    }
    template <int order>
    static LOADLINE_INLINE __m256i shuffled(__m256i a, __m256i b) {
      return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), order));
    }
  };
  template <class Book>
  static LOADLINE_INLINE Entries<Book, std::uint8_t> entries(const std::byte* unit, std::uint16_t (&)[64]) {
    return {reinterpret_cast<const std::uint8_t*>(unit)};
  }
  // `words` is memory for them.
  template <class Book>
  static LOADLINE_INLINE Entries<Book, std::uint16_t> entries(const std::byte* unit, I high,
                                                              std::uint16_t (&words)[64]) {
    const I low = load(unit);
    store_words(low.lo, high.lo, words);
    store_words(low.hi, high.hi, words + 32);
    // Else the compiler takes each word out of the registers, which is twice the work of loading it, and worth it only
    // where it can go on meanwhile: with entries of four, which are put together one by one.
    if constexpr (sizeof(Book::kGrid[0]) == 8) asm volatile("" : "+m"(words));
    return {words};
  }
  static LOADLINE_INLINE void store_words(__m256i low, __m256i high, std::uint16_t* words) {
    const __m256i first = _mm256_unpacklo_epi8(low, high);
    const __m256i second = _mm256_unpackhi_epi8(low, high);
    auto* out = reinterpret_cast<__m128i*>(words);
    _mm_storeu_si128(out, _mm256_castsi256_si128(first));
    _mm_storeu_si128(out + 1, _mm256_castsi256_si128(second));
    _mm_storeu_si128(out + 2, _mm256_extracti128_si256(first, 1));
    _mm_storeu_si128(out + 3, _mm256_extracti128_si256(second, 1));
  }

  static LOADLINE_INLINE F to_float(I v) { return {_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)}; }
  static LOADLINE_INLINE I round_to_int(F v) { return {_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi)}; }
  static LOADLINE_INLINE F as_float(I v) { return {_mm256_castsi256_ps(v.lo), _mm256_castsi256_ps(v.hi)}; }
  static LOADLINE_INLINE I as_int(F v) { return {_mm256_castps_si256(v.lo), _mm256_castps_si256(v.hi)}; }

  // 16 values of memory as lanes.
  static LOADLINE_INLINE F halves(const void* p) {
    const auto* q = static_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
  }
  static LOADLINE_INLINE float half(std::uint16_t bits) { return _cvtsh_ss(bits); }
  static LOADLINE_INLINE void store_halves(void* p, F v) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    auto* q = static_cast<__m128i*>(p);
    _mm_storeu_si128(q, _mm256_cvtps_ph(v.lo, kNearest));
    _mm_storeu_si128(q + 1, _mm256_cvtps_ph(v.hi, kNearest));
  }
  static LOADLINE_INLINE I shorts(const void* p) {  // unsigned
    const auto* q = static_cast<const __m128i*>(p);
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), _mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1))};
  }
  static LOADLINE_INLINE I chars(const void* p) {  // signed
    const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p));
    return {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
  }
  // Stores the low 8 or 16 bits of each lane.
  static LOADLINE_INLINE void store_chars(void* p, I v) {
    const I low = and_(v, ints(0xFF));
    // The packing works in halves of a register: lanes 0-3 of both, then lanes 4-7 of both.
    const __m256i mixed = _mm256_packus_epi32(low.lo, low.hi);
    const __m256i packed = _mm256_packus_epi16(mixed, mixed);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(packed, order)));
  }
  static LOADLINE_INLINE void store_shorts(void* p, I v) {
    const I low = and_(v, ints(0xFFFF));
    const __m256i mixed = _mm256_packus_epi32(low.lo, low.hi);
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm256_permute4x64_epi64(mixed, 0xD8));
  }

  static LOADLINE_INLINE F load_f(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static LOADLINE_INLINE void store_f(float* p, F v) {
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
  }
  static LOADLINE_INLINE F zero_f() { return set(0.0F); }
  static LOADLINE_INLINE F set(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static LOADLINE_INLINE F add(F a, F b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static LOADLINE_INLINE F sub(F a, F b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  static LOADLINE_INLINE F mul(F a, F b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static LOADLINE_INLINE F div(F a, F b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static LOADLINE_INLINE F max(F a, F b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static LOADLINE_INLINE F min(F a, F b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static LOADLINE_INLINE F fma(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  static LOADLINE_INLINE I max_ints(I a, I b) { return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)}; }

  static LOADLINE_INLINE float sum(F v) {
    const __m256 eight = _mm256_add_ps(v.lo, v.hi);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }
  static LOADLINE_INLINE float largest(F v) {
    const __m256 eight = _mm256_max_ps(v.lo, v.hi);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
  }
  static LOADLINE_INLINE bool any_greater(F a, F b) {
    const __m256 low = _mm256_cmp_ps(a.lo, b.lo, _CMP_GT_OQ);
    return _mm256_movemask_ps(_mm256_or_ps(low, _mm256_cmp_ps(a.hi, b.hi, _CMP_GT_OQ))) != 0;
  }
  static LOADLINE_INLINE int sum_ints(I v) {
    const __m256i eight = _mm256_add_epi32(v.lo, v.hi);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
  }
  static LOADLINE_INLINE int largest_int(I v) {
    const __m256i eight = _mm256_max_epi32(v.lo, v.hi);
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
  }

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
