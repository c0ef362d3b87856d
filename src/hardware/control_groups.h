// Where the control groups that this process is in are found, versions 1 and 2. What is in their files is the caller's.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace loadline::hardware {

struct ControlGroup {
  std::filesystem::path folder;
  bool version2 = false;
};

// The group that `controller` ("memory", "cpu") has this process in, then all that it lies in, as far as they can be
// seen; of both versions where both are mounted. `root`: as in probe.h.
std::vector<ControlGroup> control_groups(std::string_view controller, const std::filesystem::path& root = "/");

}  // namespace loadline::hardware
