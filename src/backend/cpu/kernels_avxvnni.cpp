// The kernels for AVX2 with FMA, F16C and AVX-VNNI: the generic ones over its primitives. Compiled for that set alone.
#include "backend/cpu/isa_avx2.h"
//
#include "backend/cpu/generic_attention.h"
#include "backend/cpu/generic_cache.h"
#include "backend/cpu/generic_matmul.h"
#include "backend/cpu/generic_vector.h"
#include "backend/cpu/kernel_sets.h"

namespace loadline::cpu {

LOADLINE_KERNEL_TABLE(avxvnni, Avxvnni)

}  // namespace loadline::cpu
