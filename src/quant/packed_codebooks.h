// The codebooks of the IQ formats as codes instead of bytes, for devices that have them in memory and take entries
// apart themselves: 16 bits an entry, each value's code from the lowest bits on, as codebooks.inc has them.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/format.h"

namespace loadline::quant {

bool has_codebook(TensorType type);

// All of them, one after the other, in the order of codebooks.h.
inline constexpr std::size_t kPackedCodebookEntries = 256 + 512 + 1024 + 256 + 512 + 2048;
std::vector<std::uint16_t> packed_codebooks();

}  // namespace loadline::quant
