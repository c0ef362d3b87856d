// The kernels for AVX-512 with VNNI: the generic ones over its primitives. Compiled for that set alone.
#include "backend/cpu/isa_avx512.h"
//
#include "backend/cpu/generic_attention.h"
#include "backend/cpu/generic_cache.h"
#include "backend/cpu/generic_matmul.h"
#include "backend/cpu/generic_vector.h"
#include "backend/cpu/kernel_sets.h"

namespace loadline::cpu {

LOADLINE_KERNEL_TABLE(avx512, Avx512)

}  // namespace loadline::cpu
