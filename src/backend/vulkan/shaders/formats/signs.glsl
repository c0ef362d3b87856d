// Four values with the signs that the lowest four bits say: a set bit is a negative value.
vec4 with_signs(vec4 magnitudes, uint signs) {
  return mix(magnitudes, -magnitudes, notEqual(uvec4(signs, signs >> 1, signs >> 2, signs >> 3) & 1u, uvec4(0u)));
}

// Eight signs from the seven bits a file has of them: an even number of the eight is negative.
uint signs_of_seven(uint bits) { return bits | uint(bitCount(bits)) << 7 & 128u; }
