// 64 low bytes of indices of entries of four values, eight bytes with the ninth bits of eight each, 32 bytes of signs, and
// half bytes s, one for each 32 values. value = (scale * (2 s + 1)) * entry, with its sign.
#include "signs.glsl"
#include "codebooks.glsl"
const uint kBlockBytes = 110u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

// 1, 3, 5, ... 15
vec4 grid_values(uint codes) {
  return vec4(2u * (uvec4(codes, codes >> 3, codes >> 6, codes >> 9) & 7u) + 1u);
}

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uint ninths = load_octet(block + 66u + unit / 4u) >> (2u * (unit % 4u));
  const uint signs = load_octet(block + 74u + unit);
  const uint low = load_half(block + 2u + 2u * unit);
  const uint s = load_octet(block + 106u + unit / 8u) >> (4u * (unit / 4u % 2u)) & 15u;
  const float scale = half_value(load_half(block)) * float(2u * s + 1u);
  values[0] = scale * with_signs(grid_values(grid_entry(kIq3S, (low & 255u) | (ninths & 1u) << 8)), signs);
  values[1] = scale * with_signs(grid_values(grid_entry(kIq3S, low >> 8 | (ninths & 2u) << 7)), signs >> 4);
}
