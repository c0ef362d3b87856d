// Four values of a codebook entry with two bits each: -1, 0 or 1.
vec4 grid_values(uint codes) {
  return vec4(uvec4(codes, codes >> 2, codes >> 4, codes >> 6) & 3u) - 1.0;
}
