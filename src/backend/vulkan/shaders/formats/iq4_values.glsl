// The sixteen levels of IQ4_NL and IQ4_XS (ggml-common.h, kvalues_iq4nl), four signed bytes to a word: -127 -104 -83 -65,
// -49 -35 -22 -10, 1 13 25 38, 53 69 89 113.
vec4 iq4_levels(uint word) {
  const uvec4 q = uvec4(word, word >> 8, word >> 16, word >> 24);
  const bvec4 odd = notEqual(q & 4u, uvec4(0u));
  const bvec4 upper = notEqual(q & 8u, uvec4(0u));
  const uvec4 low = mix(uvec4(0xBFAD9881u), uvec4(0xF6EADDCFu), odd);
  const uvec4 high = mix(uvec4(0x26190D01u), uvec4(0x71594535u), odd);
  const uvec4 levels = mix(low, high, upper);
  return vec4(ivec4(levels << (24u - 8u * (q & 3u))) >> 24);
}
