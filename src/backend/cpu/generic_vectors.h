// The vector kernels of an instruction set.
#pragma once

#include "backend/cpu/generic_recurrent.h"
#include "backend/cpu/generic_router.h"

namespace loadline::cpu::LOADLINE_ISA {

extern const VectorKernels kVectors;
constexpr VectorKernels kVectors = {
    .norm = norm,
    .activate = activate,
    .add_scaled = add_scaled,
    .scale = scale,
    .multiply = multiply,
    .route = route,
    .convolve = convolve,
    .delta_net = delta_net,
    .mamba2 = mamba2,
};

}  // namespace loadline::cpu::LOADLINE_ISA
