// The kernels for 64-bit ARM with dot products: the generic ones over its primitives. Compiled for that set alone.
#include "backend/cpu/isa_neon.h"
//
#include "backend/cpu/generic_attention.h"
#include "backend/cpu/generic_cache.h"
#include "backend/cpu/generic_matmul.h"
#include "backend/cpu/generic_vector.h"
#include "backend/cpu/kernel_sets.h"

namespace loadline::cpu {

LOADLINE_KERNEL_TABLE(neon, Neon)

}  // namespace loadline::cpu
