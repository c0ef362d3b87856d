// GPUs without memory of their own: what they have is the machine's RAM, of which every byte is counted once.
#pragma once

#include <string>
#include <vector>

#include "hardware/profile.h"

namespace loadline::hardware {

// probe_gpus, for a plan that uses RAM too: what integrated GPUs may take is taken off what is available of `ram`.
std::vector<Gpu> probe_gpus_beside(Ram& ram, const std::vector<std::string>& named = {});

// Half of what is available is for the GPUs that share it (`shares`, per GPU), for each as much and none more than its
// heap has free. Software devices do not share in this sense: they are used only where they are named, by tests.
void divide_shared_memory(Ram& ram, std::vector<Gpu>& gpus, const std::vector<bool>& shares);

}  // namespace loadline::hardware
