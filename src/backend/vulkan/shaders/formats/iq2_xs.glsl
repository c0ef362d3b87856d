// For each eight values nine bits of index and seven of signs; s are half bytes, one for each 16 values.
// value = (scale * (0.5 + s) * 0.25) * entry, with its sign.
#include "signs.glsl"
#include "grid_2_bits.glsl"
#include "codebooks.glsl"
const uint kBlockBytes = 74u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uint bits = load_half(block + 2u + 2u * unit);
  const uint signs = signs_of_seven(bits >> 9);
  const uint entry = grid_entry(kIq2Xs, bits & 511u);
  const uint s = load_octet(block + 66u + unit / 4u) >> (4u * (unit % 4u / 2u)) & 15u;
  const float scale = half_value(load_half(block)) * (0.5 + float(s)) * 0.25;
  values[0] = scale * with_signs(grid_values(entry), signs);
  values[1] = scale * with_signs(grid_values(entry >> 8), signs >> 4);
}
