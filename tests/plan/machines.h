// Machines for planning: a processor with stated figures, RAM, and cards of the table.
#pragma once

#include <string>
#include <vector>

#include "hardware/what_if.h"

namespace loadline::test {

// Eight cores, 40 GB/s, 2 Tops int8, a disk of 3 GB/s; nothing else assumed.
inline hardware::Profile machine(Bytes ram, const std::vector<std::string>& cards = {}) {
  hardware::Profile profile;
  profile.cpu.model = "test processor";
  profile.cpu.cores = 8;
  profile.cpu.instruction_sets = {"avx2"};
  profile.cpu.int8_ops = 2e12;
  profile.cpu.float_ops = 0.5e12;
  for (int threads = 1; threads <= 8; ++threads) profile.ram.read_bandwidth.push_back(std::min(40e9, threads * 14e9));
  profile.disk = {"ext4 on nvme0n1", 3e9};
  return hardware::what_if(profile, cards, ram);
}

}  // namespace loadline::test
