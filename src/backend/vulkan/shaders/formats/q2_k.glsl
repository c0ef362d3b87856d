// 16 groups of 16. value = (scale * s) * q - (minimum_scale * m); s and m are the halves of the group's byte. A word of
// the 2-bit quants holds four values each of four groups that lie 32 elements apart.
const uint kBlockBytes = 84u;
const uint kBlockUnits = 16u;
const uint kUnitVectors = 4u;

uint vector_offset(uint unit, uint i) { return 128u * (unit / 8u) + 32u * i + 4u * (unit % 8u); }

void integers(uint64_t block, uint unit, out uint packed[kUnitVectors], out vec2 scales[kUnitVectors]) {
  const uint quants = load_word(block + 16u + 4u * unit);
  const vec2 scale = unpackHalf2x16(load_word(block + 80u));
  const uint first_group = 8u * (unit / 8u) + (unit % 8u) / 4u;
  [[unroll]] for (uint i = 0u; i < 4u; ++i) {
    const uint group = load_octet(block + first_group + 2u * i);
    packed[i] = (quants >> (2u * i)) & 0x03030303u;
    scales[i] = scale * vec2(group & 15u, -float(group >> 4));
  }
}

#include "affine.glsl"
