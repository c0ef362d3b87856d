// As Q4_K with a fifth bit: bit g of high[i] belongs to value 32 g + i.
#include "group_scales.glsl"
const uint kBlockBytes = 176u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 64u * (unit / 8u) + 32u * i + 4u * (unit % 8u); }

void integers(uint64_t block, uint unit, out uint packed[kUnitVectors], out vec2 scales[kUnitVectors]) {
  const vec2 scale = unpackHalf2x16(load_word(block));
  const uint nibbles = load_word(block + 48u + 4u * unit);
  const uint pair = unit / 8u * 2u;
  const uint fifth = load_word(block + 16u + 4u * (unit % 8u)) >> pair;
  packed[0] = (nibbles & 0x0F0F0F0Fu) | (fifth & 0x01010101u) << 4;
  packed[1] = ((nibbles >> 4) & 0x0F0F0F0Fu) | ((fifth >> 1) & 0x01010101u) << 4;
  scales[0] = scale * vec2(1.0, -1.0) * group_scales(block + 4u, pair);
  scales[1] = scale * vec2(1.0, -1.0) * group_scales(block + 4u, pair + 1u);
}

#include "affine.glsl"
