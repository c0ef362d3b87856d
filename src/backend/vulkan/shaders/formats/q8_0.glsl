// value = scale * q
const uint kBlockBytes = 34u;
const uint kBlockUnits = 4u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const float scale = half_value(load_half(block));
  values[0] = signed_octets(load_split_word(block + 2u + 8u * unit)) * scale;
  values[1] = signed_octets(load_split_word(block + 6u + 8u * unit)) * scale;
}
