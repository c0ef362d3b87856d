// Measures what the kernels of an instruction set reach on this machine, as a model has them: from memory, on all
// threads, in a few seconds. What predictions rest on.
#pragma once

#include <functional>
#include <string_view>

#include "backend/cpu/kernels.h"
#include "hardware/kernel_rates.h"

namespace loadline::cpu {

// Of the processors that measuring must get; less, and the figures say more of others than of the machine.
inline constexpr double kLeastShare = 0.9;

// Each figure is the best of a few passes: others on the machine only ever make a pass slower. `share`: how much of the
// processors its threads got while the worst of them was taken; where that is below kLeastShare even in a second try,
// it ends at once, and what it returns is not whole. Takes some 160 MiB meanwhile; throws Error(DoesNotFit) where they
// cannot be had. `progress` is told how much is done, from 0 to 1; what it throws ends it.
hardware::KernelRates measure_kernels(const KernelTable& table, unsigned threads, double& share,
                                      const std::function<void(std::string_view what, double done)>& progress);

}  // namespace loadline::cpu
