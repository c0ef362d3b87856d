#define FLOAT_FORMAT
const uint kBlockBytes = 16u;
const uint kBlockUnits = 1u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 4u * i; }

float value_at(uint64_t row, uint at) { return uintBitsToFloat(uint(Halves(row).v[at]) << 16); }

vec4 bfloat16_values(uint low, uint high) {
  return uintBitsToFloat(uvec4(low << 16, low & 0xFFFF0000u, high << 16, high & 0xFFFF0000u));
}

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uvec4 bits = Quads(block).v[0];
  values[0] = bfloat16_values(bits.x, bits.y);
  values[1] = bfloat16_values(bits.z, bits.w);
}
