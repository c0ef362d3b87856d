// HardwareProfile: what a machine has and how fast it is, as plain data. Comes from probing this machine, from a JSON
// file or from a table of cards; the planner cannot tell the difference.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace loadline::hardware {

struct Cpu {
  std::string model;
  std::uint32_t cores = 1;
  std::vector<std::string> instruction_sets;  // "avx2", "avx512", "avx512_vnni", ... as the kernels name them
  Bytes l2, l3;
  std::uint32_t numa_nodes = 1;
  double int8_ops = 0;  // operations per second with all cores (a multiply-add counts two); 0: not measured
  double float_ops = 0;
  double matrix_ops = 0;  // of the matrix unit, with bfloat16
};

// Whether the processor has a set of the list above.
inline bool has_instructions(const Cpu& cpu, std::string_view name) {
  return std::ranges::find(cpu.instruction_sets, name) != cpu.instruction_sets.end();
}
// Whether it has a unit for products of matrices that this program uses.
inline bool lists_matrix_unit(const Cpu& cpu) { return has_instructions(cpu, "amx_bf16"); }

struct Ram {
  Bytes total;
  Bytes available;  // what could be taken now, the cgroup considered
  std::optional<Bytes> cgroup_limit;
  Bytes swap_total, swap_used;
  std::vector<double> read_bandwidth;  // bytes/s with 1, 2, ... threads; empty: not measured
};

// What a context is taken to cost where nobody measured it: what drivers of current cards take, and their part in RAM.
inline constexpr Bytes kAssumedContextMemory = 112 * kMiB;
inline constexpr Bytes kAssumedContextHostMemory = 64 * kMiB;

struct Gpu {
  std::string name;
  std::string id;         // "vulkan0": which one of this machine; empty for a card that is only assumed
  std::string driver;     // "vulkan", "table" (what-if), ...
  bool software = false;  // llvmpipe: used only when named
  Bytes total;
  Bytes free;                   // what could be taken now, other processes considered
  double memory_bandwidth = 0;  // bytes/s
  double int8_ops = 0;
  double half_ops = 0;        // float16 with the matrix units, operations/s
  double host_bandwidth = 0;  // bytes/s from RAM to the device
  // float32 operations/s (a multiply-add counts two), measured: where it is not 0, so are memory_bandwidth and
  // host_bandwidth; else these are a data sheet's.
  double float_ops = 0;
  // What a context costs before anything is allocated in it: of the device's memory, and of RAM (the driver's part).
  Bytes context_memory;
  Bytes context_host_memory;
  bool context_measured = false;  // false: assumed
};

struct Disk {
  std::string name;           // "ext4 on vda"
  double read_bandwidth = 0;  // direct reads, bytes/s; 0: not measured
};

struct Profile {
  Cpu cpu;
  Ram ram;
  std::vector<Gpu> gpus;
  Disk disk;             // the one that holds the model
  std::string measured;  // date of the measurement, empty where figures are assumed
};

}  // namespace loadline::hardware
