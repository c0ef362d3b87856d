// GPUs that are there and cannot be used, for whoever asks why one is missing.
#pragma once

#include <string>
#include <vector>

namespace loadline::hardware {

struct UnusableGpu {
  std::string name;
  std::vector<std::string> lacks;  // what the backend needs and its driver has not
};
std::vector<UnusableGpu> list_unusable_gpus();

}  // namespace loadline::hardware
