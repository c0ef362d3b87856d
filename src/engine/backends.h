// The backends that plans are made for and run with, by name. Light: no kernels, no devices.
#pragma once

#include "plan/lowering.h"

namespace loadline::engine {

// The CPU's, and Vulkan's for every GPU.
const plan::Backends& backends();

}  // namespace loadline::engine
