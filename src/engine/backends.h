// The backends that plans are made for and run with, by name. Light: no kernels, no devices.
#pragma once

#include <string>

#include "hardware/profile.h"
#include "plan/lowering.h"

namespace loadline::engine {

// The CPU's, and Vulkan's for every GPU. What the CPU's kernels reach is what was measured on such a machine, where it
// was (measure_kernels.h); it is looked up once in a process.
const plan::Backends& backends();

// How fast the devices of a plan are on that machine, which may have been planned for with others.
plan::Rates rates_for(const plan::Plan& plan, hardware::Profile machine);

// The instruction set that the environment names for the CPU's kernels; empty: none, the best is meant.
std::string wanted_kernels();

}  // namespace loadline::engine
