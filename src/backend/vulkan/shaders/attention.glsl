// Shared by attention.comp and merge_attention.comp: where partial results lie when the cells of a token are split.
// [tokens][heads][splits] of: the weighted sum of v (width floats), the largest score, the sum of weights.
uint64_t partial_result(uint64_t workspace, uint width, uint heads, uint splits, uint token, uint head, uint split) {
  return workspace + uint64_t((token * heads + head) * splits + split) * ((width + 2u) * 4u);
}
