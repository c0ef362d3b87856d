#define FLOAT_FORMAT
const uint kBlockBytes = 16u;
const uint kBlockUnits = 1u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 4u * i; }

float value_at(uint64_t row, uint at) { return half_value(uint(Halves(row).v[at])); }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uvec4 bits = Quads(block).v[0];
  values[0] = vec4(unpackHalf2x16(bits.x), unpackHalf2x16(bits.y));
  values[1] = vec4(unpackHalf2x16(bits.z), unpackHalf2x16(bits.w));
}
