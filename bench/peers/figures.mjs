// What the comparisons of speeds have in common.

// ggml's library for the same instructions as our sets.
export const kVariants = { avx2: "haswell", avxvnni: "alderlake", avx512: "icelake", avx512vbmi: "icelake" };

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
