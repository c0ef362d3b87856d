// The kernels of the instruction sets, and constants they share. Each set has a namespace of its name. Its functions
// are defined in translation units compiled for it, in which everything else has internal linkage. Only kernels.cpp
// chooses among them.
#pragma once

#include <type_traits>

#include "backend/cpu/kernels.h"

namespace loadline::cpu {

// Blocks whose largest magnitude is below this are prepared as zeros: their scale's inverse would not be finite.
constexpr float kNegligible = 1e-35F;

// The functions of a KernelTable, in its order; each set has one of that name.
#define LOADLINE_EACH_KERNEL(X) \
  X(prepare) X(few_tokens) X(matmul) X(gated) X(rms_norm) X(rope) X(add) X(store_kv) X(attention) X(attention_finish)

#define LOADLINE_DECLARE(name) extern std::remove_pointer_t<decltype(KernelTable::name)> name;
namespace scalar {
extern const VectorKernels kVectors;
LOADLINE_EACH_KERNEL(LOADLINE_DECLARE)
}  // namespace scalar
namespace avx2 {
extern const VectorKernels kVectors;
LOADLINE_EACH_KERNEL(LOADLINE_DECLARE)
}  // namespace avx2
namespace avx512 {
extern const VectorKernels kVectors;
LOADLINE_EACH_KERNEL(LOADLINE_DECLARE)
}  // namespace avx512
namespace neon {
extern const VectorKernels kVectors;
LOADLINE_EACH_KERNEL(LOADLINE_DECLARE)
}  // namespace neon
// These have products of their own and take the rest from another set.
namespace avxvnni {
using namespace avx2;
LOADLINE_DECLARE(few_tokens)
LOADLINE_DECLARE(matmul)
LOADLINE_DECLARE(gated)
}  // namespace avxvnni
namespace avx512vbmi {
using namespace avx512;
LOADLINE_DECLARE(few_tokens)
LOADLINE_DECLARE(matmul)
LOADLINE_DECLARE(gated)
}  // namespace avx512vbmi
namespace amx {
using namespace avx512;
using avx512vbmi::few_tokens;
LOADLINE_DECLARE(prepare)
LOADLINE_DECLARE(matmul)
LOADLINE_DECLARE(gated)
}  // namespace amx
#undef LOADLINE_DECLARE

}  // namespace loadline::cpu
