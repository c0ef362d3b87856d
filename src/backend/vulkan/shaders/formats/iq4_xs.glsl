// 8 groups of 32, nibbles of group g from byte 16 g on. value = (scale * (s - 32)) * kIq4Values[q].
#include "iq4_values.glsl"
const uint kBlockBytes = 136u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 32u * (unit / 4u) + 4u * (unit % 4u) + 16u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uint head = load_word(block);
  const uint group = unit / 4u;
  const uint low = load_word(block + 4u) >> (4u * group) & 15u;
  const uint high = head >> (16u + 2u * group) & 3u;
  const float scale = half_value(head & 0xFFFFu) * float(int(low | high << 4) - 32);
  const uint nibbles = load_word(block + 8u + 4u * unit);
  values[0] = scale * iq4_levels(nibbles);
  values[1] = scale * iq4_levels(nibbles >> 4);
}
