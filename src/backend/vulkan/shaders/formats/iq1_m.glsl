// 32 low bytes of indices, half bytes with three high bits of each and one that makes delta -1/8 instead of 1/8, and four
// words with four times three bits s, one for each 16 values, under four bits of the block's scale, a half.
// value = (scale * (2 s + 1)) * (entry + delta)
#include "grid_ternary.glsl"
#include "codebooks.glsl"
const uint kBlockBytes = 56u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uint first = load_word(block + 48u);
  const uint second = load_word(block + 52u);
  const uint scale_bits =
      (first >> 12 & 15u) | (first >> 24 & 0xF0u) | (second >> 4 & 0xF00u) | (second >> 16 & 0xF000u);
  const uint word = (unit < 16u ? first : second) >> (16u * (unit / 8u % 2u));
  const uint s = word >> (3u * (unit % 8u / 2u)) & 7u;
  const uint nibble = load_octet(block + 32u + unit / 2u) >> (4u * (unit % 2u));
  const uint entry = grid_entry(kIq1S, load_octet(block + unit) | (nibble & 7u) << 8);
  const float delta = (nibble & 8u) != 0u ? -0.125 : 0.125;
  const float scale = half_value(scale_bits) * float(2u * s + 1u);
  values[0] = scale * (grid_values(entry) + delta);
  values[1] = scale * (grid_values(entry >> 8) + delta);
}
