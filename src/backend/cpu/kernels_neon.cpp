// The kernels for 64-bit ARM with dot products: the generic ones over its primitives. Compiled for that set alone.
#include "backend/cpu/isa_neon.h"
//
#include "backend/cpu/generic_attention.h"
#include "backend/cpu/generic_matmul.h"
#include "backend/cpu/generic_vector.h"

namespace loadline::cpu {

const KernelTable kNeonKernels = {
    .name = "neon",
    .prepare = prepare,
    .matmul = matmul,
    .gated = gated,
    .rms_norm = rms_norm,
    .rope = rope,
    .add = add,
    .store_kv = store_kv,
    .attention = attention,
    .attention_finish = attention_finish,
};

}  // namespace loadline::cpu
