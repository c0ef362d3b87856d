// value = scale * (q - 16); bit i of `high` is the fifth bit of value i.
#include "fifth_bits.glsl"
const uint kBlockBytes = 22u;
const uint kBlockUnits = 4u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 4u * unit + 16u * i; }

void integers(uint64_t block, uint unit, out uint packed[kUnitVectors], out vec2 scales[kUnitVectors]) {
  const float scale = half_value(load_half(block));
  const uint high = load_split_word(block + 2u);
  const uint nibbles = load_split_word(block + 6u + 4u * unit);
  packed[0] = (nibbles & 0x0F0F0F0Fu) | fifth_bits(high, 4u * unit);
  packed[1] = ((nibbles >> 4) & 0x0F0F0F0Fu) | fifth_bits(high, 16u + 4u * unit);
  scales[0] = scales[1] = scale * vec2(1.0, -16.0);
}

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  uint packed[kUnitVectors];
  vec2 scales[kUnitVectors];
  integers(block, unit, packed, scales);
  [[unroll]] for (uint i = 0u; i < kUnitVectors; ++i) values[i] = (octets(packed[i]) - 16.0) * scales[i].x;
}
