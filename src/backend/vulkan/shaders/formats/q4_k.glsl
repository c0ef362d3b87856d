// 8 groups of 32. value = (scale * s) * q - (minimum_scale * m). Byte 32 c + i of the nibbles holds value 64 c + i in its
// low and value 64 c + 32 + i in its high half.
#include "group_scales.glsl"
const uint kBlockBytes = 144u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 64u * (unit / 8u) + 32u * i + 4u * (unit % 8u); }

void integers(uint64_t block, uint unit, out uint packed[kUnitVectors], out vec2 scales[kUnitVectors]) {
  const vec2 scale = unpackHalf2x16(load_word(block));
  const uint nibbles = load_word(block + 16u + 4u * unit);
  const uint pair = unit / 8u * 2u;
  packed[0] = nibbles & 0x0F0F0F0Fu;
  packed[1] = (nibbles >> 4) & 0x0F0F0F0Fu;
  scales[0] = scale * vec2(1.0, -1.0) * group_scales(block + 4u, pair);
  scales[1] = scale * vec2(1.0, -1.0) * group_scales(block + 4u, pair + 1u);
}

#include "affine.glsl"
