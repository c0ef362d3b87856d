// Bytes of five digits of base 3 as a fraction: digit n of 32 bytes for each n, then of 16, then four digits of 4 bytes.
// value = scale * (digit - 1)
const uint kBlockBytes = 54u;
const uint kBlockUnits = 32u;
const uint kUnitVectors = 2u;

uint vector_offset(uint unit, uint i) { return 8u * unit + 4u * i; }

// Those of values `first` to first + 3.
vec4 digits(uint64_t block, uint first) {
  uint n = (first - 240u) / 4u;
  uint at = 48u;
  if (first < 160u) {
    n = first / 32u;
    at = first % 32u;
  } else if (first < 240u) {
    n = (first - 160u) / 16u;
    at = 32u + first % 16u;
  }
  const uint word = load_split_word(block + at);
  uvec4 fractions = uvec4(word, word >> 8, word >> 16, word >> 24) & 255u;
  // By the power of 3 (not in a loop, whose rounds would differ from lane to lane).
  const uint power = (n & 1u) != 0u ? (n & 2u) != 0u ? 27u : 3u : (n & 2u) != 0u ? 9u : n == 4u ? 81u : 1u;
  fractions = fractions * power & 255u;
  return vec4(fractions * 3u >> 8);
}

void dequant(uint64_t block, uint unit, out vec4 values[kUnitVectors]) {
  const float scale = half_value(load_half(block + 52u));
  values[0] = scale * (digits(block, 8u * unit) - 1.0);
  values[1] = scale * (digits(block, 8u * unit + 4u) - 1.0);
}
