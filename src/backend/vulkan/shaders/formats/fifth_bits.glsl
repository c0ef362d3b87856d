// Four bits of a word, from `first` on, each as the fifth bit of a byte.
uint fifth_bits(uint high, uint first) {
  const uint bits = high >> first;
  return (bits & 1u) << 4 | (bits & 2u) << 11 | (bits & 4u) << 18 | (bits & 8u) << 25;
}
