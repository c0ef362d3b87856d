// value = scale where the value's bit is set, else -scale
#include "signs.glsl"
const uint kBlockBytes = 18u;
const uint kBlockUnits = 16u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const vec4 scale = vec4(half_value(load_half(block)));
  const uint negative = ~load_octet(block + 2u + unit);
  values[0] = with_signs(scale, negative);
  values[1] = with_signs(scale, negative >> 4);
}
