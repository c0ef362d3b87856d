#include "quant/codebooks.h"

#include <cstddef>
#include <iterator>

#include "quant/packed_codebooks.h"

namespace loadline::quant {
namespace {

#include "quant/codebooks.inc"

// Codes of `bits` bits, each an index into `values`, as a byte each.
template <class Entry, int bits, std::size_t count, std::size_t levels>
constexpr std::array<Entry, count> unpacked(const std::uint16_t (&packed)[count],
                                            const std::uint8_t (&values)[levels]) {
  static_assert(levels <= 1U << bits);
  std::array<Entry, count> entries{};
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < sizeof(Entry); ++j) {
      const unsigned code = packed[i] >> (bits * j) & ((1U << bits) - 1);
      entries[i] |= static_cast<Entry>(values[code]) << (8 * j);
    }
  }
  return entries;
}

// As CodeBytes says: codes of three bits four bits apart.
template <int bits, std::size_t count, std::size_t levels>
constexpr CodeBytes<count> code_bytes(const std::uint16_t (&packed)[count], const std::uint8_t (&values)[levels]) {
  constexpr int kWide = bits == 3 ? 4 : bits;
  CodeBytes<count> codes{};
  for (std::size_t i = 0; i < count; ++i) {
    unsigned wide = 0;
    for (int j = 0; j < 16 / kWide; ++j) wide |= (packed[i] >> (bits * j) & ((1U << bits) - 1)) << (kWide * j);
    codes.low[i] = static_cast<std::uint8_t>(wide);
    codes.high[i] = static_cast<std::uint8_t>(wide >> 8);
  }
  for (std::size_t i = 0; i < codes.levels.size(); ++i) {
    const std::size_t code = i % (std::size_t{1} << bits);
    const int level = code < levels ? values[code] : 0;
    codes.levels[i] = static_cast<std::uint8_t>(level);
    for (std::size_t place = 0; place < 4; ++place) {
      const bool negative = (i >> (place + 2) & 1) != 0;
      codes.signed_levels[place][i] = static_cast<std::uint8_t>(negative ? 128 - level : 128 + level);
    }
  }
  return codes;
}

// A byte is a fraction of 256: times 3, the digit is what is above it.
constexpr TernaryDigits ternary_digits() {
  TernaryDigits digits{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned fraction = byte, all = 0;
    for (int n = 0; n < 5; ++n) {
      all |= (3 * fraction >> 8) << (2 * n);
      fraction = 3 * fraction & 255;
    }
    digits.low[byte] = static_cast<std::uint8_t>(all);
    digits.high[byte] = static_cast<std::uint8_t>(all >> 8);
  }
  return digits;
}

// The values that an entry's codes stand for (ggml-common.h, the grids).
constexpr std::uint8_t kTwoBits[] = {8, 25, 43};
constexpr std::uint8_t kThreeBits[] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr std::uint8_t kOdd[] = {1, 3, 5, 7, 9, 11, 13, 15};
constexpr std::uint8_t kOneBit[] = {0, 1, 2};

}  // namespace

constexpr std::array<std::uint64_t, 256> kIq2XxsGrid = unpacked<std::uint64_t, 2>(kPackedIq2Xxs, kTwoBits);
constexpr std::array<std::uint64_t, 512> kIq2XsGrid = unpacked<std::uint64_t, 2>(kPackedIq2Xs, kTwoBits);
constexpr std::array<std::uint64_t, 1024> kIq2SGrid = unpacked<std::uint64_t, 2>(kPackedIq2S, kTwoBits);
constexpr std::array<std::uint32_t, 256> kIq3XxsGrid = unpacked<std::uint32_t, 3>(kPackedIq3Xxs, kThreeBits);
constexpr std::array<std::uint32_t, 512> kIq3SGrid = unpacked<std::uint32_t, 3>(kPackedIq3S, kOdd);
constexpr std::array<std::uint64_t, 2048> kIq1Grid = unpacked<std::uint64_t, 2>(kPackedIq1S, kOneBit);

constexpr CodeBytes<256> kIq2XxsCodes = code_bytes<2>(kPackedIq2Xxs, kTwoBits);
constexpr CodeBytes<512> kIq2XsCodes = code_bytes<2>(kPackedIq2Xs, kTwoBits);
constexpr CodeBytes<1024> kIq2SCodes = code_bytes<2>(kPackedIq2S, kTwoBits);
constexpr CodeBytes<256> kIq3XxsCodes = code_bytes<3>(kPackedIq3Xxs, kThreeBits);
constexpr CodeBytes<512> kIq3SCodes = code_bytes<3>(kPackedIq3S, kOdd);
constexpr CodeBytes<2048> kIq1Codes = code_bytes<2>(kPackedIq1S, kOneBit);

constexpr TernaryDigits kTernaryDigits = ternary_digits();

std::vector<std::uint16_t> packed_codebooks() {
  std::vector<std::uint16_t> all;
  all.reserve(kPackedCodebookEntries);
  const auto append = [&](const auto& packed) { all.insert(all.end(), std::begin(packed), std::end(packed)); };
  append(kPackedIq2Xxs);
  append(kPackedIq2Xs);
  append(kPackedIq2S);
  append(kPackedIq3Xxs);
  append(kPackedIq3S);
  append(kPackedIq1S);
  return all;
}

bool has_codebook(TensorType type) {
  switch (type) {
    case TensorType::IQ1_S:
    case TensorType::IQ1_M:
    case TensorType::IQ2_XXS:
    case TensorType::IQ2_XS:
    case TensorType::IQ2_S:
    case TensorType::IQ3_XXS:
    case TensorType::IQ3_S: return true;
    default: return false;
  }
}

}  // namespace loadline::quant
