// Proves and measures the GPUs of this machine with nothing but this program: it makes its own models, and the oracle
// says what they must compute. The most telling checks come first, and where time is up the rest is left out.
// It needs no network and no file, remembers nothing, and writes only into a folder of its own among temporary files,
// which is gone afterwards.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "backend/device.h"
#include "selftest/report.h"

namespace loadline::selftest {

using backend::StopFlag;

struct Options {
  std::string device;             // an id or a part of a name; empty: every GPU that is not software
  double minutes = 8;             // for all of them together
  std::vector<std::string> only;  // parts of "SECTION NAME": the checks to make; empty: all
  std::string broken_shader;      // tests: see vulkan::DeviceOptions
};

// Told as it goes; either may be empty.
struct Events {
  std::function<void(const Card&)> card;  // before its first check
  std::function<void(const Row&)> row;
  std::function<void(const std::string& doing, double share_of_time)> progress;
};

// "SECTION NAME" of every check, in the order in which they are made.
std::vector<std::string> check_names();

// Throws Error(BadInput) where there is no such GPU, or none at all, and for an `only` that means no check. What a GPU
// or its driver does wrong is a row of the report.
Report run(const Options& options, const Events& events, const StopFlag& interrupted);

}  // namespace loadline::selftest
