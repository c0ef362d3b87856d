// A /proc and /sys of a machine that is not this one, for the probes.
#pragma once

#include <fstream>
#include <string>

#include "support/test_data.h"

namespace loadline::test {

class FakeMachine {
 public:
  [[nodiscard]] const std::filesystem::path& root() const { return folder_.path(); }
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace loadline::test
