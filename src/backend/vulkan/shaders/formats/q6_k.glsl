// 16 groups of 16. value = (scale * s) * (q - 32). In each half h of the block a word of the low bits holds values j and
// j + 64 of four columns, and a word of the high bits those of j, j + 32, j + 64 and j + 96.
const uint kBlockBytes = 210u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 128u * (unit / 16u) + 64u * i + 4u * (unit % 16u); }

float group_scale(uint64_t block, uint element) {
  return float(bitfieldExtract(int(load_octet(block + 192u + element / 16u)), 0, 8));
}

void integers(uint64_t block, uint unit, out uint packed[kUnitVectors], out vec2 scales[kUnitVectors]) {
  const float scale = half_value(load_half(block + 208u));
  const uint column = unit % 16u;
  const uint low = load_split_word(block + 4u * unit);
  const uint high = load_split_word(block + 128u + 32u * (unit / 16u) + 4u * (column % 8u)) >> (2u * (column / 8u));
  packed[0] = (low & 0x0F0F0F0Fu) | (high & 0x03030303u) << 4;
  packed[1] = ((low >> 4) & 0x0F0F0F0Fu) | ((high >> 4) & 0x03030303u) << 4;
  scales[0] = scale * group_scale(block, vector_offset(unit, 0u)) * vec2(1.0, -32.0);
  scales[1] = scale * group_scale(block, vector_offset(unit, 1u)) * vec2(1.0, -32.0);
}

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  uint packed[kUnitVectors];
  vec2 scales[kUnitVectors];
  integers(block, unit, packed, scales);
  [[unroll]] for (uint i = 0u; i < kUnitVectors; ++i) values[i] = (octets(packed[i]) - 32.0) * scales[i].x;
}
