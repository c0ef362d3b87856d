// value = scale * q + minimum
const uint kBlockBytes = 20u;
const uint kBlockUnits = 4u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 4u * unit + 16u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const vec2 scale = unpackHalf2x16(load_word(block));
  const uint nibbles = load_word(block + 4u + 4u * unit);
  values[0] = octets(nibbles & 0x0F0F0F0Fu) * scale.x + scale.y;
  values[1] = octets((nibbles >> 4) & 0x0F0F0F0Fu) * scale.x + scale.y;
}
