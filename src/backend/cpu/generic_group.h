// The products of one group of formats (LOADLINE_GROUP, see kernels.inc) for an instruction set.
#pragma once

#include "backend/cpu/generic_codebooks.h"
#include "backend/cpu/generic_floats.h"
#include "backend/cpu/generic_k_formats.h"
#include "backend/cpu/generic_products.h"
#include "backend/cpu/generic_small_formats.h"
#include "backend/cpu/generic_unpacked.h"

namespace loadline::cpu::LOADLINE_ISA {

#define LOADLINE_PRODUCT(format, way) \
  extern const Products k##format;    \
  constexpr Products k##format = k##way##Products<cpu::format>;
#include "backend/cpu/kernels.inc"

}  // namespace loadline::cpu::LOADLINE_ISA
