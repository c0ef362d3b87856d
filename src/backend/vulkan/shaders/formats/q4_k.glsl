// 8 groups of 32. value = (scale * s) * q - (minimum_scale * m). Byte 32 c + i of the nibbles holds value 64 c + i in its
// low and value 64 c + 32 + i in its high half.
#include "group_scales.glsl"
const uint kBlockBytes = 144u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 64u * (unit / 8u) + 32u * i + 4u * (unit % 8u); }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const vec2 scale = unpackHalf2x16(load_word(block));
  const uint nibbles = load_word(block + 16u + 4u * unit);
  const uint pair = unit / 8u * 2u;
  const vec2 low = scale * group_scales(block + 4u, pair);
  const vec2 high = scale * group_scales(block + 4u, pair + 1u);
  values[0] = low.x * octets(nibbles & 0x0F0F0F0Fu) - low.y;
  values[1] = high.x * octets((nibbles >> 4) & 0x0F0F0F0Fu) - high.y;
}
