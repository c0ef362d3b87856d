// value = scale * (q - 1), two bits a value in order
const uint kBlockBytes = 18u;
const uint kBlockUnits = 8u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const float scale = half_value(load_half(block));
  const uint quants = load_half(block + 2u + 2u * unit);
  [[unroll]] for (uint i = 0u; i < 2u; ++i) {
    const uint four = quants >> (8u * i);
    values[i] = scale * (vec4(uvec4(four, four >> 2, four >> 4, four >> 6) & 3u) - 1.0);
  }
}
