// Four scales, then for each 16 values eight bytes: value j in the low half of byte j, value j + 8 in its high half.
// value = number * scale / 2, for a scale with four bits of exponent and three of mantissa.
#include "fp4_values.glsl"
const uint kBlockBytes = 36u;
const uint kBlockUnits = 8u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 16u * (unit / 2u) + 4u * (unit % 2u) + 8u * i; }

// Half of it; what is not a number counts as 0.
float ue4m3_half(uint bits) {
  const uint exponent = bits >> 3 & 15u;
  const float mantissa = float(bits & 7u);
  if ((bits & 127u) == 127u) return 0.0;
  if (exponent == 0u) return mantissa * exp2(-10.0);
  return (1.0 + mantissa / 8.0) * uintBitsToFloat((exponent + 119u) << 23);
}

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const float scale = ue4m3_half(load_octet(block + unit / 2u));
  const uint nibbles = load_word(block + 4u + 4u * unit);
  values[0] = scale * fp4_values(nibbles);
  values[1] = scale * fp4_values(nibbles >> 4);
}
