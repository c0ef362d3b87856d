// Measures what the kernels of an instruction set reach on this machine, as a model has them: from memory, on all
// threads, in a few seconds. What predictions rest on.
#pragma once

#include <functional>
#include <string_view>

#include "backend/cpu/kernels.h"
#include "base/bytes.h"
#include "hardware/kernel_rates.h"

namespace loadline::cpu {

// Of the processors that measuring must get; less, and the figures say more of others than of the machine.
inline constexpr double kLeastShare = 0.9;

// All but `loading`. Each figure is the middle one of a few passes. `share`: how much of the processors its threads got
// while the worst of them was taken; where that is below kLeastShare even in a second try, it ends at once, and what it
// returns is not whole. Takes some 700 MiB meanwhile; throws Error(DoesNotFit) where they cannot be had. `progress` is
// told how much is done, from 0 to 1; what it throws ends it.
hardware::KernelRates measure_kernels(const KernelTable& table, unsigned threads, double& share,
                                      const std::function<void(std::string_view what, double done)>& progress);

// bytes/s of weights laid out into memory that the process had not used before, at most `most` and 1.1 GiB of it. To be
// called first: the system gives out anew what was just freed, at no cost, while a model's memory has to be found, on
// many virtual machines by the host. Throws Error(DoesNotFit).
double measure_loading(unsigned threads, Bytes most);

}  // namespace loadline::cpu
