// 64 indices of entries of four values, then for each 32 values a word of four times seven bits of signs and four bits s.
// value = (scale * (0.5 + s) * 0.5) * entry, with its sign.
#include "signs.glsl"
#include "codebooks.glsl"
const uint kBlockBytes = 98u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

// 4, 12, 20, 28, 36, 44, 52 or 62
vec4 grid_values(uint codes) {
  const uvec4 code = uvec4(codes, codes >> 3, codes >> 6, codes >> 9) & 7u;
  return vec4(4u + 8u * code + code / 7u * 2u);
}

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uint word = load_split_word(block + 66u + 4u * (unit / 4u));
  const uint signs = signs_of_seven(word >> (7u * (unit % 4u)) & 127u);
  const uint indices = load_half(block + 2u + 2u * unit);
  const float scale = half_value(load_half(block)) * (0.5 + float(word >> 28)) * 0.5;
  values[0] = scale * with_signs(grid_values(grid_entry(kIq3Xxs, indices & 255u)), signs);
  values[1] = scale * with_signs(grid_values(grid_entry(kIq3Xxs, indices >> 8)), signs >> 4);
}
