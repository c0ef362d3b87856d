#define FLOAT_FORMAT
const uint kBlockBytes = 32u;
const uint kBlockUnits = 1u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 4u * i; }

float value_at(uint64_t row, uint at) { return Floats(row).v[at]; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  values[0] = Vectors(block).v[0];
  values[1] = Vectors(block).v[1];
}
