// How the weights of one group of formats (LOADLINE_GROUP, see kernels.inc) come to the matrix unit.
#pragma once

#include "backend/cpu/amx_operands.h"
#include "backend/cpu/generic_codebooks.h"
#include "backend/cpu/generic_k_formats.h"
#include "backend/cpu/generic_small_formats.h"
#include "backend/cpu/products.h"

namespace loadline::cpu::LOADLINE_ISA {

#define LOADLINE_PRODUCT(format, way) \
  extern const Operands k##format;    \
  constexpr Operands k##format = k##way##Operands<cpu::format>;
#include "backend/cpu/kernels.inc"

}  // namespace loadline::cpu::LOADLINE_ISA
