// 16 groups of 16. value = (scale * (s - 32)) * (q - 4). The low two bits of q lie as in Q2_K; the third is bit 4 h + i of
// high[j] for value 128 h + 32 i + j.
const uint kBlockBytes = 110u;
const uint kBlockUnits = 16u;
const uint kUnitVectors = 4u;

uint vector_offset(uint unit, uint i) { return 128u * (unit / 8u) + 32u * i + 4u * (unit % 8u); }

// Six bits: the low four in a half of bytes 0-7, the high two four groups to a byte in bytes 8-11.
float group_scale(uint64_t groups, uint group) {
  const uint low = load_octet(groups + group % 8u) >> (4u * (group / 8u)) & 15u;
  const uint high = load_octet(groups + 8u + group % 4u) >> (2u * (group / 4u)) & 3u;
  return float(int(low | high << 4) - 32);
}

void integers(uint64_t block, uint unit, out uint packed[kUnitVectors], out vec2 scales[kUnitVectors]) {
  const uint quants = load_split_word(block + 32u + 4u * unit);
  const uint high = load_split_word(block + 4u * (unit % 8u)) >> (4u * (unit / 8u));
  const float scale = half_value(load_half(block + 108u));
  const uint first_group = 8u * (unit / 8u) + (unit % 8u) / 4u;
  [[unroll]] for (uint i = 0u; i < 4u; ++i) {
    packed[i] = ((quants >> (2u * i)) & 0x03030303u) | ((high >> i) & 0x01010101u) << 2;
    scales[i] = scale * group_scale(block + 96u, first_group + 2u * i) * vec2(1.0, -4.0);
  }
}

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  uint packed[kUnitVectors];
  vec2 scales[kUnitVectors];
  integers(block, unit, packed, scales);
  [[unroll]] for (uint i = 0u; i < kUnitVectors; ++i) values[i] = (octets(packed[i]) - 4.0) * scales[i].x;
}
