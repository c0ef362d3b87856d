// value = scale * kIq4Values[q]
#include "iq4_values.glsl"
const uint kBlockBytes = 18u;
const uint kBlockUnits = 4u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 4u * unit + 16u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const float scale = half_value(load_half(block));
  const uint nibbles = load_split_word(block + 2u + 4u * unit);
  values[0] = scale * iq4_levels(nibbles);
  values[1] = scale * iq4_levels(nibbles >> 4);
}
