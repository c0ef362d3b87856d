// The primitives the generic kernels are written in, for 64-bit ARM with the dot product instructions (ARMv8.2). Four
// registers make 16 lanes. Only translation units for this set include this; everything has internal linkage.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define LOADLINE_ISA neon
#define LOADLINE_INLINE __attribute__((always_inline)) inline

namespace loadline::cpu {
namespace {

struct V {
  struct I {  // 16 lanes (rows, cells) of 4 bytes
    int32x4_t q[4];
  };
  struct F {  // 16 floats
    float32x4_t q[4];
  };

  static constexpr int kSignedOffset = 0;  // the dot product takes signed bytes
  static constexpr int kLargest = 127;
  static constexpr bool kNarrow = false;
  // How far ahead streams are fetched, see generic_products.h; not measured.
  static constexpr std::size_t kNear = 2048;
  static constexpr std::size_t kFar = 4096;
  static constexpr int kDirect = 1;
  static constexpr int kFewTokens = 4;  // and straight from the stream at all
  // Whether several tiles share what is loaded of such tokens: not at all.
  static constexpr std::size_t kSharedNear = 0;
  static constexpr int kTiles = 1;
  static constexpr int kTokens = 4;
  static constexpr int kScoreRows = 2;
  static constexpr int kValueRows = 2;
  static constexpr int kValueVectors = 2;

  static LOADLINE_INLINE uint8x16_t u8(int32x4_t v) { return vreinterpretq_u8_s32(v); }
  static LOADLINE_INLINE int8x16_t s8(int32x4_t v) { return vreinterpretq_s8_s32(v); }
  static LOADLINE_INLINE uint16x8_t u16(int32x4_t v) { return vreinterpretq_u16_s32(v); }
  static LOADLINE_INLINE int16x8_t s16(int32x4_t v) { return vreinterpretq_s16_s32(v); }
  static LOADLINE_INLINE uint32x4_t u32(int32x4_t v) { return vreinterpretq_u32_s32(v); }
  static LOADLINE_INLINE int32x4_t s32(uint8x16_t v) { return vreinterpretq_s32_u8(v); }
  static LOADLINE_INLINE int32x4_t s32(int8x16_t v) { return vreinterpretq_s32_s8(v); }
  static LOADLINE_INLINE int32x4_t s32(uint16x8_t v) { return vreinterpretq_s32_u16(v); }
  static LOADLINE_INLINE int32x4_t s32(int16x8_t v) { return vreinterpretq_s32_s16(v); }
  static LOADLINE_INLINE int32x4_t s32(uint32x4_t v) { return vreinterpretq_s32_u32(v); }
  static LOADLINE_INLINE I all(int32x4_t v) { return {{v, v, v, v}}; }

  static LOADLINE_INLINE I load(const void* p) {
    const auto* q = static_cast<const std::uint8_t*>(p);
    return {
        {s32(vld1q_u8(q + 16 * 0)), s32(vld1q_u8(q + 16 * 1)), s32(vld1q_u8(q + 16 * 2)), s32(vld1q_u8(q + 16 * 3))}};
  }
  static LOADLINE_INLINE void store(void* p, I v) {
    auto* q = static_cast<std::uint8_t*>(p);
    vst1q_u8(q + 0, u8(v.q[0]));
    vst1q_u8(q + 16, u8(v.q[1]));
    vst1q_u8(q + 32, u8(v.q[2]));
    vst1q_u8(q + 48, u8(v.q[3]));
  }
  static LOADLINE_INLINE I zero() { return all(vdupq_n_s32(0)); }
  static LOADLINE_INLINE I bytes(int v) { return all(s32(vdupq_n_u8(static_cast<std::uint8_t>(v)))); }
  static LOADLINE_INLINE I words(int v) { return all(s32(vdupq_n_u16(static_cast<std::uint16_t>(v)))); }
  static LOADLINE_INLINE I ints(int v) { return all(vdupq_n_s32(v)); }
  // The same 4 bytes in every lane.
  static LOADLINE_INLINE I repeat(const void* p) {
    std::int32_t v;
    std::memcpy(&v, p, 4);
    return ints(v);
  }
  static LOADLINE_INLINE I repeat_anew(const void* p) { return repeat(p); }

  static LOADLINE_INLINE I and_(I a, I b) {
    return {
        {vandq_s32(a.q[0], b.q[0]), vandq_s32(a.q[1], b.q[1]), vandq_s32(a.q[2], b.q[2]), vandq_s32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE I or_(I a, I b) {
    return {
        {vorrq_s32(a.q[0], b.q[0]), vorrq_s32(a.q[1], b.q[1]), vorrq_s32(a.q[2], b.q[2]), vorrq_s32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE I xor_(I a, I b) {
    return {
        {veorq_s32(a.q[0], b.q[0]), veorq_s32(a.q[1], b.q[1]), veorq_s32(a.q[2], b.q[2]), veorq_s32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE I or_and(I a, I b, I mask) { return or_(a, and_(b, mask)); }
  // Shifts of 16-bit units, n > 0 to the right and n < 0 to the left; the bits that cross bytes are the caller's to
  // mask.
  template <int n>
  static LOADLINE_INLINE I shift(I v) {
    if constexpr (n > 0)
      return {{s32(vshrq_n_u16(u16(v.q[0]), n)), s32(vshrq_n_u16(u16(v.q[1]), n)), s32(vshrq_n_u16(u16(v.q[2]), n)),
               s32(vshrq_n_u16(u16(v.q[3]), n))}};
    if constexpr (n < 0)
      return {{s32(vshlq_n_u16(u16(v.q[0]), -n)), s32(vshlq_n_u16(u16(v.q[1]), -n)), s32(vshlq_n_u16(u16(v.q[2]), -n)),
               s32(vshlq_n_u16(u16(v.q[3]), -n))}};
    return v;
  }
  template <int n>
  static LOADLINE_INLINE I shr32(I v) {
    return {{s32(vshrq_n_u32(u32(v.q[0]), n)), s32(vshrq_n_u32(u32(v.q[1]), n)), s32(vshrq_n_u32(u32(v.q[2]), n)),
             s32(vshrq_n_u32(u32(v.q[3]), n))}};
  }
  template <int n>
  static LOADLINE_INLINE I shl32(I v) {
    return {{vshlq_n_s32(v.q[0], n), vshlq_n_s32(v.q[1], n), vshlq_n_s32(v.q[2], n), vshlq_n_s32(v.q[3], n)}};
  }
  // No shift by nothing exists.
  template <int n>
  static LOADLINE_INLINE I sra32(I v) {
    if constexpr (n == 0) return v;
    if constexpr (n > 0)
      return {{vshrq_n_s32(v.q[0], n), vshrq_n_s32(v.q[1], n), vshrq_n_s32(v.q[2], n), vshrq_n_s32(v.q[3], n)}};
  }
  // 0 in place of the bytes that are `value`.
  static LOADLINE_INLINE I without(I v, int value) {
    const auto one = [value](int32x4_t q) {
      return s32(vbicq_u8(u8(q), vceqq_u8(u8(q), vdupq_n_u8(static_cast<std::uint8_t>(value)))));
    };
    return {{one(v.q[0]), one(v.q[1]), one(v.q[2]), one(v.q[3])}};
  }
  static LOADLINE_INLINE I add8(I a, I b) {
    return {{s32(vaddq_s8(s8(a.q[0]), s8(b.q[0]))), s32(vaddq_s8(s8(a.q[1]), s8(b.q[1]))),
             s32(vaddq_s8(s8(a.q[2]), s8(b.q[2]))), s32(vaddq_s8(s8(a.q[3]), s8(b.q[3])))}};
  }
  static LOADLINE_INLINE I add16(I a, I b) {
    return {{s32(vaddq_s16(s16(a.q[0]), s16(b.q[0]))), s32(vaddq_s16(s16(a.q[1]), s16(b.q[1]))),
             s32(vaddq_s16(s16(a.q[2]), s16(b.q[2]))), s32(vaddq_s16(s16(a.q[3]), s16(b.q[3])))}};
  }
  static LOADLINE_INLINE I sub16(I a, I b) {
    return {{s32(vsubq_s16(s16(a.q[0]), s16(b.q[0]))), s32(vsubq_s16(s16(a.q[1]), s16(b.q[1]))),
             s32(vsubq_s16(s16(a.q[2]), s16(b.q[2]))), s32(vsubq_s16(s16(a.q[3]), s16(b.q[3])))}};
  }
  static LOADLINE_INLINE I add32(I a, I b) {
    return {
        {vaddq_s32(a.q[0], b.q[0]), vaddq_s32(a.q[1], b.q[1]), vaddq_s32(a.q[2], b.q[2]), vaddq_s32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE I sub32(I a, I b) {
    return {
        {vsubq_s32(a.q[0], b.q[0]), vsubq_s32(a.q[1], b.q[1]), vsubq_s32(a.q[2], b.q[2]), vsubq_s32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE I mul16(I a, I b) {
    return {{s32(vmulq_s16(s16(a.q[0]), s16(b.q[0]))), s32(vmulq_s16(s16(a.q[1]), s16(b.q[1]))),
             s32(vmulq_s16(s16(a.q[2]), s16(b.q[2]))), s32(vmulq_s16(s16(a.q[3]), s16(b.q[3])))}};
  }
  // table[index] bytewise; `table` points to 16 bytes, the indices are below 16.
  static LOADLINE_INLINE I lookup(I table, I index) {
    return {{s32(vqtbl1q_u8(u8(table.q[0]), u8(index.q[0]))), s32(vqtbl1q_u8(u8(table.q[1]), u8(index.q[1]))),
             s32(vqtbl1q_u8(u8(table.q[2]), u8(index.q[2]))), s32(vqtbl1q_u8(u8(table.q[3]), u8(index.q[3])))}};
  }
  static LOADLINE_INLINE I table16(const std::int8_t* p) { return all(s32(vld1q_s8(p))); }
  // Every lane's byte j as both of its 16-bit halves. (Out of range of the table is zero.)
  template <int j>
  static LOADLINE_INLINE I byte_twice(I v) {
    static constexpr std::uint8_t kBytes[16] = {j,     0xFF, j,     0xFF, 4 + j,  0xFF, 4 + j,  0xFF,
                                                8 + j, 0xFF, 8 + j, 0xFF, 12 + j, 0xFF, 12 + j, 0xFF};
    const uint8x16_t order = vld1q_u8(kBytes);
    return {{s32(vqtbl1q_u8(u8(v.q[0]), order)), s32(vqtbl1q_u8(u8(v.q[1]), order)), s32(vqtbl1q_u8(u8(v.q[2]), order)),
             s32(vqtbl1q_u8(u8(v.q[3]), order))}};
  }
  // The low 16 bits of each lane of `low`, and above them 16 bits of `high` from bit `place` on.
  template <int place>
  static LOADLINE_INLINE I halves_of(I low, I high) {
    if constexpr (place > 0) high = shr32<place>(high);
    return {{vsliq_n_s32(low.q[0], high.q[0], 16), vsliq_n_s32(low.q[1], high.q[1], 16),
             vsliq_n_s32(low.q[2], high.q[2], 16), vsliq_n_s32(low.q[3], high.q[3], 16)}};
  }
  // 0x10 in byte i of a lane whose bit 4 c + i is set.
  template <int c>
  static LOADLINE_INLINE I fifth_bits(I v) {
    static constexpr std::uint8_t kBytes[16] = {c / 2,      c / 2,      c / 2,      c / 2,     4 + c / 2, 4 + c / 2,
                                                4 + c / 2,  4 + c / 2,  8 + c / 2,  8 + c / 2, 8 + c / 2, 8 + c / 2,
                                                12 + c / 2, 12 + c / 2, 12 + c / 2, 12 + c / 2};
    const uint8x16_t order = vld1q_u8(kBytes);
    const uint8x16_t bits = vreinterpretq_u8_u32(vdupq_n_u32(c % 2 == 0 ? 0x08040201U : 0x80402010U));
    const uint8x16_t fifth = vdupq_n_u8(0x10);
    return {{s32(vandq_u8(vtstq_u8(vqtbl1q_u8(u8(v.q[0]), order), bits), fifth)),
             s32(vandq_u8(vtstq_u8(vqtbl1q_u8(u8(v.q[1]), order), bits), fifth)),
             s32(vandq_u8(vtstq_u8(vqtbl1q_u8(u8(v.q[2]), order), bits), fifth)),
             s32(vandq_u8(vtstq_u8(vqtbl1q_u8(u8(v.q[3]), order), bits), fifth))}};
  }

  // Sums of products of 4 bytes in each lane: weights of at most `most`, unsigned, or signed ones where `most` is 255,
  // times signed activations.
  template <int most>
  struct Dots {
    I sum;
    static LOADLINE_INLINE Dots from(I start) { return {start}; }
    LOADLINE_INLINE void add(I weights, I x) {
      sum = {{vdotq_s32(sum.q[0], s8(weights.q[0]), s8(x.q[0])), vdotq_s32(sum.q[1], s8(weights.q[1]), s8(x.q[1])),
              vdotq_s32(sum.q[2], s8(weights.q[2]), s8(x.q[2])), vdotq_s32(sum.q[3], s8(weights.q[3]), s8(x.q[3]))}};
    }
    [[nodiscard]] LOADLINE_INLINE I total() const { return sum; }
  };
  // Adds the sum of the products of the two signed halves.
  static LOADLINE_INLINE int32x4_t pairs(int16x8_t a, int16x8_t b) {
    return vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b));
  }
  static LOADLINE_INLINE I dot16(I sum, I a, I b) {
    return {{vaddq_s32(sum.q[0], pairs(s16(a.q[0]), s16(b.q[0]))), vaddq_s32(sum.q[1], pairs(s16(a.q[1]), s16(b.q[1]))),
             vaddq_s32(sum.q[2], pairs(s16(a.q[2]), s16(b.q[2]))),
             vaddq_s32(sum.q[3], pairs(s16(a.q[3]), s16(b.q[3])))}};
  }
  // Weights with their signs: bit `bit` of each byte of `signs`.
  using Signed = I;
  static I multiply_signed(Signed weights, I x);  // these two are for signs that come apart
  template <int bias>
  static I biased(Signed weights);
  template <int bit>
  static LOADLINE_INLINE Signed with_signs(I magnitudes, I all_signs) {
    const I signs = shift<bit - 7>(all_signs);
    const auto one = [](int32x4_t w, int32x4_t sign) {
      const int8x16_t mask = vshrq_n_s8(s8(sign), 7);
      return s32(vsubq_s8(veorq_s8(s8(w), mask), mask));
    };
    return {{one(magnitudes.q[0], signs.q[0]), one(magnitudes.q[1], signs.q[1]), one(magnitudes.q[2], signs.q[2]),
             one(magnitudes.q[3], signs.q[3])}};
  }

  // The entries that four indices of each of 16 rows stand for: the bytes of a unit, which lies at `unit`, or those and
  // as many bits above them.
  static constexpr bool kTables = false;  // of 256 bytes and more, to look weights up in
  template <std::size_t count>
  static I looked_up(const std::uint8_t* table, I low, I high);  // only where there are
  template <class Book>
  using Signs = I;
  template <class Book>
  struct Entries {
    const std::uint16_t* index;  // l of row r is 4 r + l
    template <int l>
    LOADLINE_INLINE void eights(I& first, I& second) const {
      alignas(16) std::uint32_t halves[2][16];
      for (int r = 0; r < 16; ++r) {
        const std::uint64_t entry = Book::kGrid[index[4 * r + l]];
        halves[0][r] = static_cast<std::uint32_t>(entry);
        halves[1][r] = static_cast<std::uint32_t>(entry >> 32);
      }
      first = load(halves[0]);
      second = load(halves[1]);
    }
    template <int l>
    LOADLINE_INLINE I fours() const {
      alignas(16) std::uint32_t all[16];
      for (int r = 0; r < 16; ++r) all[r] = Book::kGrid[index[4 * r + l]];
      return load(all);
    }
  };
  template <class Book>
  static LOADLINE_INLINE Entries<Book> entries(const std::byte* unit, std::uint16_t (&words)[64]) {
    return entries<Book>(unit, zero(), words);
  }
  template <class Book>
  static LOADLINE_INLINE Entries<Book> entries(const std::byte* unit, I high, std::uint16_t (&words)[64]) {
    alignas(16) std::uint8_t above[64];
    store(above, high);
    for (int i = 0; i < 64; ++i) {
      words[i] = static_cast<std::uint16_t>(static_cast<std::uint8_t>(unit[i]) | above[i] << 8);
    }
    return {words};
  }

  static LOADLINE_INLINE F to_float(I v) {
    return {{vcvtq_f32_s32(v.q[0]), vcvtq_f32_s32(v.q[1]), vcvtq_f32_s32(v.q[2]), vcvtq_f32_s32(v.q[3])}};
  }
  static LOADLINE_INLINE I round_to_int(F v) {
    return {{vcvtnq_s32_f32(v.q[0]), vcvtnq_s32_f32(v.q[1]), vcvtnq_s32_f32(v.q[2]), vcvtnq_s32_f32(v.q[3])}};
  }
  static LOADLINE_INLINE F as_float(I v) {
    return {{vreinterpretq_f32_s32(v.q[0]), vreinterpretq_f32_s32(v.q[1]), vreinterpretq_f32_s32(v.q[2]),
             vreinterpretq_f32_s32(v.q[3])}};
  }
  static LOADLINE_INLINE I as_int(F v) {
    return {{vreinterpretq_s32_f32(v.q[0]), vreinterpretq_s32_f32(v.q[1]), vreinterpretq_s32_f32(v.q[2]),
             vreinterpretq_s32_f32(v.q[3])}};
  }

  // 16 values of memory as lanes.
  static LOADLINE_INLINE float32x4_t four_halves(const void* p, int i) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(static_cast<const std::uint8_t*>(p) + 8 * i)));
  }
  static LOADLINE_INLINE F halves(const void* p) {
    return {{four_halves(p, 0), four_halves(p, 1), four_halves(p, 2), four_halves(p, 3)}};
  }
  static LOADLINE_INLINE float half(std::uint16_t bits) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
  }
  static LOADLINE_INLINE void store_halves(void* p, F v) {
    auto* q = static_cast<std::uint8_t*>(p);
    vst1_u8(q + 0, vreinterpret_u8_f16(vcvt_f16_f32(v.q[0])));
    vst1_u8(q + 8, vreinterpret_u8_f16(vcvt_f16_f32(v.q[1])));
    vst1_u8(q + 16, vreinterpret_u8_f16(vcvt_f16_f32(v.q[2])));
    vst1_u8(q + 24, vreinterpret_u8_f16(vcvt_f16_f32(v.q[3])));
  }
  static LOADLINE_INLINE I shorts(const void* p) {  // unsigned
    const auto* q = static_cast<const std::uint8_t*>(p);
    return {{s32(vmovl_u16(vreinterpret_u16_u8(vld1_u8(q + 8 * 0)))),
             s32(vmovl_u16(vreinterpret_u16_u8(vld1_u8(q + 8 * 1)))),
             s32(vmovl_u16(vreinterpret_u16_u8(vld1_u8(q + 8 * 2)))),
             s32(vmovl_u16(vreinterpret_u16_u8(vld1_u8(q + 8 * 3))))}};
  }
  static LOADLINE_INLINE I chars(const void* p) {  // signed
    const int8x16_t v = vld1q_s8(static_cast<const std::int8_t*>(p));
    const int16x8_t low = vmovl_s8(vget_low_s8(v));
    const int16x8_t high = vmovl_high_s8(v);
    return {{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)}};
  }
  // Stores the low 8 or 16 bits of each lane.
  static LOADLINE_INLINE int16x8_t narrow(int32x4_t low, int32x4_t high) {
    return vmovn_high_s32(vmovn_s32(low), high);
  }
  static LOADLINE_INLINE void store_chars(void* p, I v) {
    const int16x8_t low = narrow(v.q[0], v.q[1]);
    const int16x8_t high = narrow(v.q[2], v.q[3]);
    vst1q_s8(static_cast<std::int8_t*>(p), vmovn_high_s16(vmovn_s16(low), high));
  }
  static LOADLINE_INLINE void store_shorts(void* p, I v) {
    auto* q = static_cast<std::uint8_t*>(p);
    vst1q_u8(q, vreinterpretq_u8_s16(narrow(v.q[0], v.q[1])));
    vst1q_u8(q + 16, vreinterpretq_u8_s16(narrow(v.q[2], v.q[3])));
  }

  static LOADLINE_INLINE F load_f(const float* p) {
    return {{vld1q_f32(p + 4 * 0), vld1q_f32(p + 4 * 1), vld1q_f32(p + 4 * 2), vld1q_f32(p + 4 * 3)}};
  }
  static LOADLINE_INLINE void store_f(float* p, F v) {
    vst1q_f32(p + 0, v.q[0]);
    vst1q_f32(p + 4, v.q[1]);
    vst1q_f32(p + 8, v.q[2]);
    vst1q_f32(p + 12, v.q[3]);
  }
  static LOADLINE_INLINE F zero_f() { return set(0.0F); }
  static LOADLINE_INLINE F set(float v) {
    const float32x4_t one = vdupq_n_f32(v);
    return {{one, one, one, one}};
  }
  static LOADLINE_INLINE F add(F a, F b) {
    return {
        {vaddq_f32(a.q[0], b.q[0]), vaddq_f32(a.q[1], b.q[1]), vaddq_f32(a.q[2], b.q[2]), vaddq_f32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE F sub(F a, F b) {
    return {
        {vsubq_f32(a.q[0], b.q[0]), vsubq_f32(a.q[1], b.q[1]), vsubq_f32(a.q[2], b.q[2]), vsubq_f32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE F mul(F a, F b) {
    return {
        {vmulq_f32(a.q[0], b.q[0]), vmulq_f32(a.q[1], b.q[1]), vmulq_f32(a.q[2], b.q[2]), vmulq_f32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE F div(F a, F b) {
    return {
        {vdivq_f32(a.q[0], b.q[0]), vdivq_f32(a.q[1], b.q[1]), vdivq_f32(a.q[2], b.q[2]), vdivq_f32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE F max(F a, F b) {
    return {
        {vmaxq_f32(a.q[0], b.q[0]), vmaxq_f32(a.q[1], b.q[1]), vmaxq_f32(a.q[2], b.q[2]), vmaxq_f32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE F min(F a, F b) {
    return {
        {vminq_f32(a.q[0], b.q[0]), vminq_f32(a.q[1], b.q[1]), vminq_f32(a.q[2], b.q[2]), vminq_f32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE F fma(F a, F b, F c) {
    return {{vfmaq_f32(c.q[0], a.q[0], b.q[0]), vfmaq_f32(c.q[1], a.q[1], b.q[1]), vfmaq_f32(c.q[2], a.q[2], b.q[2]),
             vfmaq_f32(c.q[3], a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE I max_ints(I a, I b) {
    return {
        {vmaxq_s32(a.q[0], b.q[0]), vmaxq_s32(a.q[1], b.q[1]), vmaxq_s32(a.q[2], b.q[2]), vmaxq_s32(a.q[3], b.q[3])}};
  }
  static LOADLINE_INLINE float sum(F v) {
    return vaddvq_f32(vaddq_f32(vaddq_f32(v.q[0], v.q[1]), vaddq_f32(v.q[2], v.q[3])));
  }
  static LOADLINE_INLINE float largest(F v) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.q[0], v.q[1]), vmaxq_f32(v.q[2], v.q[3])));
  }
  static LOADLINE_INLINE bool any_greater(F a, F b) {
    const uint32x4_t low = vorrq_u32(vcgtq_f32(a.q[0], b.q[0]), vcgtq_f32(a.q[1], b.q[1]));
    const uint32x4_t high = vorrq_u32(vcgtq_f32(a.q[2], b.q[2]), vcgtq_f32(a.q[3], b.q[3]));
    return vmaxvq_u32(vorrq_u32(low, high)) != 0;
  }
  static LOADLINE_INLINE int sum_ints(I v) {
    return vaddvq_s32(vaddq_s32(vaddq_s32(v.q[0], v.q[1]), vaddq_s32(v.q[2], v.q[3])));
  }
  static LOADLINE_INLINE int largest_int(I v) {
    return vmaxvq_s32(vmaxq_s32(vmaxq_s32(v.q[0], v.q[1]), vmaxq_s32(v.q[2], v.q[3])));
  }

  // Into the cache next to the core, and into the one behind it.
  static LOADLINE_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
  static LOADLINE_INLINE void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }
};

}  // namespace
}  // namespace loadline::cpu
