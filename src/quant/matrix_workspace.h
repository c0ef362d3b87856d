// What the CPU's matrix unit needs beside its operands. Shared by the planner, which reserves the bytes, and by the
// kernels, which use them.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace loadline::quant {

// Rows of a matrix and tokens whose sums a thread keeps while it goes through their values: in floats half of what
// processors with such a unit have as L2 cache per core.
constexpr std::uint32_t kMatrixRows = 512;
constexpr std::uint32_t kMatrixBlock = 512;

// Bytes for one thread, 64-byte aligned, where passes have `tokens` tokens: the sums, weights of two tiles of 16 rows
// as two parts, and room to complete one.
Bytes matrix_workspace(std::uint64_t tokens);

}  // namespace loadline::quant
