// Twice the floating point numbers of four bits in the low halves of a word's bytes: 0 1 2 3 4 6 8 12, then negated.
vec4 fp4_values(uint word) {
  const uvec4 q = uvec4(word, word >> 8, word >> 16, word >> 24);
  const uvec4 packed = mix(uvec4(0x03020100u), uvec4(0x0C080604u), notEqual(q & 4u, uvec4(0u)));
  const vec4 magnitudes = vec4(packed >> (8u * (q & 3u)) & 255u);
  return mix(magnitudes, -magnitudes, notEqual(q & 8u, uvec4(0u)));
}
