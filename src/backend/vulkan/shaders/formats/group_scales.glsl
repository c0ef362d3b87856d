// The six-bit scale (x) and minimum (y) of group 0..7 of Q4_K and Q5_K: bytes 0-3 and 4-7 hold those of groups 0-3 in
// their low six bits, bytes 8-11 the low halves of those of groups 4-7, whose upper bits are the top bits of bytes 0-7.
vec2 group_scales(uint64_t packed_groups, uint group) {
  const uint i = group & 3u;
  const uint first = load_octet(packed_groups + i);
  const uint second = load_octet(packed_groups + 4u + i);
  if (group < 4u) return vec2(first & 63u, second & 63u);
  const uint third = load_octet(packed_groups + 8u + i);
  return vec2((third & 15u) | first >> 6 << 4, third >> 4 | second >> 6 << 4);
}
