// Four values of a codebook entry with two bits each: 8, 25 or 43.
vec4 grid_values(uint codes) {
  const uvec4 code = uvec4(codes, codes >> 2, codes >> 4, codes >> 6) & 3u;
  return vec4(8u + 17u * code + code / 2u);
}
