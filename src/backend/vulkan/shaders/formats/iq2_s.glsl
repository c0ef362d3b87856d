// 32 low bytes of indices, 32 bytes of signs, eight with two high bits of four indices each, and half bytes s, one for
// each 16 values. value = (scale * (0.5 + s) * 0.25) * entry, with its sign.
#include "signs.glsl"
#include "grid_2_bits.glsl"
#include "codebooks.glsl"
const uint kBlockBytes = 82u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uint high = load_octet(block + 66u + unit / 4u) >> (2u * (unit % 4u)) & 3u;
  const uint signs = load_octet(block + 34u + unit);
  const uint entry = grid_entry(kIq2S, load_octet(block + 2u + unit) | high << 8);
  const uint s = load_octet(block + 74u + unit / 4u) >> (4u * (unit % 4u / 2u)) & 15u;
  const float scale = half_value(load_half(block)) * (0.5 + float(s)) * 0.25;
  values[0] = scale * with_signs(grid_values(entry), signs);
  values[1] = scale * with_signs(grid_values(entry >> 8), signs >> 4);
}
