// 32 low bytes of indices, then for each 32 values four times three high bits, three bits s and one that makes delta -1/8
// instead of 1/8. value = (scale * (2 s + 1)) * (entry + delta)
#include "grid_ternary.glsl"
#include "codebooks.glsl"
const uint kBlockBytes = 50u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const uint high = load_half(block + 34u + 2u * (unit / 4u));
  const uint entry = grid_entry(kIq1S, load_octet(block + 2u + unit) | (high >> (3u * (unit % 4u)) & 7u) << 8);
  const float delta = (high & 0x8000u) != 0u ? -0.125 : 0.125;
  const float scale = half_value(load_half(block)) * float(2u * (high >> 12 & 7u) + 1u);
  values[0] = scale * (grid_values(entry) + delta);
  values[1] = scale * (grid_values(entry >> 8) + delta);
}
