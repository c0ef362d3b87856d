// Groups of 32 of two words: four indices, then four times seven bits of signs and four bits s.
// value = (scale * (0.5 + s) * 0.25) * entry, with its sign.
#include "signs.glsl"
#include "grid_2_bits.glsl"
#include "codebooks.glsl"
const uint kBlockBytes = 66u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uint64_t group = block + 2u + 8u * (unit / 4u);
  const uint word = load_split_word(group + 4u);
  const uint signs = signs_of_seven(word >> (7u * (unit % 4u)) & 127u);
  const uint entry = grid_entry(kIq2Xxs, load_octet(group + unit % 4u));
  const float scale = half_value(load_half(block)) * (0.5 + float(word >> 28)) * 0.25;
  values[0] = scale * with_signs(grid_values(entry), signs);
  values[1] = scale * with_signs(grid_values(entry >> 8), signs >> 4);
}
