// value = scale * q
const uint kBlockBytes = 34u;
const uint kBlockUnits = 4u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

void integers(uint64_t block, uint unit, out uint packed[kUnitVectors], out vec2 scales[kUnitVectors]) {
  const float scale = half_value(load_half(block));
  packed[0] = load_split_word(block + 2u + 8u * unit);
  packed[1] = load_split_word(block + 6u + 8u * unit);
  scales[0] = scales[1] = vec2(scale, 0.0);
}

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  uint packed[kUnitVectors];
  vec2 scales[kUnitVectors];
  integers(block, unit, packed, scales);
  [[unroll]] for (uint i = 0u; i < kUnitVectors; ++i) values[i] = signed_octets(packed[i]) * scales[i].x;
}
