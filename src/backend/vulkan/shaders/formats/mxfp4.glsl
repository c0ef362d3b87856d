// value = number * 2^(e - 128) for the byte e before the nibbles, which lie as in Q4_0. Blocks have an odd number of bytes.
#include "fp4_values.glsl"
const uint kBlockBytes = 17u;
const uint kBlockUnits = 4u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 4u * unit + 16u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  // As a float's exponent; 2^-128 and 2^-127 have none and are two bits below it.
  const uint e = load_octet(block);
  const float scale = uintBitsToFloat(e < 2u ? 0x00200000u << e : (e - 1u) << 23);
  const uint64_t at = block + 1u + 4u * unit;
  const uint nibbles =
      load_octet(at) | load_octet(at + 1u) << 8 | load_octet(at + 2u) << 16 | load_octet(at + 3u) << 24;
  values[0] = scale * fp4_values(nibbles);
  values[1] = scale * fp4_values(nibbles >> 4);
}
