// Made by tools/make_codebooks.py. Where each codebook begins among all of them, which the device has one after the
// other: entries of 16 bits, each of codes from the lowest on (quant/codebooks.h).
const uint kIq2Xxs = 0u;
const uint kIq2Xs = 256u;
const uint kIq2S = 768u;
const uint kIq3Xxs = 1792u;
const uint kIq3S = 2048u;
const uint kIq1S = 2560u;

// Their address.
uint64_t codebooks();

uint grid_entry(uint codebook, uint index) {
  return load_half(codebooks() + 2u * (codebook + index));
}
