// value = scale * (q - 1); two bits a value, which lie as in Q2_K.
const uint kBlockBytes = 66u;
const uint kBlockUnits = 16u;
const uint kUnitVectors = 4u;

uint vector_offset(uint unit, uint i) { return 128u * (unit / 8u) + 32u * i + 4u * (unit % 8u); }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uint quants = load_split_word(block + 4u * unit);
  const float scale = half_value(load_half(block + 64u));
  [[unroll]] for (uint i = 0u; i < 4u; ++i) values[i] = scale * (octets((quants >> (2u * i)) & 0x03030303u) - 1.0);
}
