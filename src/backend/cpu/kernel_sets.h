// The tables of the instruction sets, and constants they share. Each table is defined in a translation unit of its own,
// compiled for its set, in which everything else has internal linkage. Only kernels.cpp chooses among them.
#pragma once

#include "backend/cpu/kernels.h"

namespace loadline::cpu {

// Blocks whose largest magnitude is below this are prepared as zeros: their scale's inverse would not be finite.
constexpr float kNegligible = 1e-35F;

#define LOADLINE_SET(name, Name, runs) extern const KernelTable k##Name##Kernels;
#include "backend/cpu/kernels.inc"

// Defines kNameKernels, in namespace loadline::cpu: of the functions with the members' names that the file has.
#define LOADLINE_KERNEL_TABLE(set, Name)    \
  const KernelTable k##Name##Kernels = {    \
      .name = #set,                         \
      .matrix_unit = false,                 \
      .prepare = prepare,                   \
      .matmul = matmul,                     \
      .gated = gated,                       \
      .rms_norm = rms_norm,                 \
      .rope = rope,                         \
      .add = add,                           \
      .store_kv = store_kv,                 \
      .attention = attention,               \
      .attention_finish = attention_finish, \
  };

}  // namespace loadline::cpu
