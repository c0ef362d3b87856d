// value = scale * q + minimum; bit i of `high` is the fifth bit of value i.
#include "fifth_bits.glsl"
const uint kBlockBytes = 24u;
const uint kBlockUnits = 4u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 4u * unit + 16u * i; }

void integers(uint64_t block, uint unit, out uint packed[kUnitVectors], out vec2 scales[kUnitVectors]) {
  const vec2 scale = unpackHalf2x16(load_word(block));
  const uint high = load_word(block + 4u);
  const uint nibbles = load_word(block + 8u + 4u * unit);
  packed[0] = (nibbles & 0x0F0F0F0Fu) | fifth_bits(high, 4u * unit);
  packed[1] = ((nibbles >> 4) & 0x0F0F0F0Fu) | fifth_bits(high, 16u + 4u * unit);
  scales[0] = scales[1] = scale;
}

#include "affine.glsl"
