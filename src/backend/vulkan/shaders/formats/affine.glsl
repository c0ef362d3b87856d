// Of formats whose integers have a scale and an offset each: what they stand for. Behind their integers().
void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  uint packed[kUnitVectors];
  vec2 scales[kUnitVectors];
  integers(block, unit, packed, scales);
  [[unroll]] for (uint i = 0u; i < kUnitVectors; ++i) values[i] = octets(packed[i]) * scales[i].x + scales[i].y;
}
