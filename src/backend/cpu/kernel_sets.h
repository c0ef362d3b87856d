// The tables of the instruction sets, and constants they share. Each table is defined in a translation unit of its own,
// compiled for its set, in which everything else has internal linkage. Only kernels.cpp chooses among them.
#pragma once

#include "backend/cpu/kernels.h"

namespace loadline::cpu {

// Blocks whose largest magnitude is below this are prepared as zeros: their scale's inverse would not be finite.
constexpr float kNegligible = 1e-35F;

#define LOADLINE_SET(name, Name, runs) extern const KernelTable k##Name##Kernels;
#include "backend/cpu/kernels.inc"

}  // namespace loadline::cpu
