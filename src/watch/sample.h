// Sample: what the machine was seen to do at one moment, as plain data. Counters are totals since whenever the system
// began to count; what could not be read is absent. It says nothing of what that means; see judge.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "exec/pass_log.h"

namespace loadline::watch {

// Seconds in which some task, or every task, waited for the resource (kernel: accounting/psi.rst).
struct Pressure {
  double some = 0;
  double full = 0;
};

// Of this process.
struct ProcessSample {
  std::optional<double> ran;     // s: processor time of all threads
  std::optional<double> waited;  // s: they were ready to run and another had the processor, all threads together
  std::optional<std::uint64_t> major_faults;
  std::optional<Bytes> held;     // of RAM, that nobody can take without swapping
  std::optional<Bytes> swapped;  // of what it holds
};

// Of the whole machine, or what a container sees of it.
struct MachineSample {
  std::uint32_t processors = 0;
  std::optional<double> busy;    // s: all processors together
  std::optional<double> stolen;  // s: a hypervisor had them
  std::optional<Bytes> available, total;
  std::optional<std::uint64_t> swapped_in, swapped_out;  // pages
  std::optional<Pressure> processor_pressure, memory_pressure, disk_pressure;
};

// Of the tightest control group that this process is in.
struct GroupSample {
  std::optional<Bytes> limit;         // absent: there is none
  std::optional<Bytes> used;          // page cache that gives way not counted
  std::optional<std::uint64_t> full;  // how often the limit was met
  std::optional<double> held_back;    // s: the group's share of the processors was used up
};

struct ProcessorSample {
  std::optional<double> clock, most_clock;  // Hz: the mean of the processors that were looked at
  std::optional<double> slowed;             // s, or times where the system counts those: by heat
  std::optional<double> temperature, hot;   // degrees C; where it begins to slow down
};

// The disk that holds the model.
struct DiskSample {
  std::optional<std::uint64_t> reads;
  std::optional<Bytes> read;
  std::optional<double> reading;  // s that reads took, all together
};

struct GpuSample {
  std::optional<Bytes> budget, own;         // VK_EXT_memory_budget: what this process may have, and has
  std::optional<Bytes> total, used;         // of the device's memory, by all processes
  std::optional<Bytes> moved;               // system memory that the driver has in use for the device (GTT)
  std::optional<double> clock, most_clock;  // Hz
  std::optional<double> temperature;        // degrees C
  std::optional<bool> slowed;               // by heat or a power brake, as the driver says
};

// What the passes since the sample before took, against what was predicted for passes of their kind.
struct PassSample {
  std::uint64_t passes = 0;  // completed since
  double seconds = 0;        // that they took
  double predicted = 0;      // that they should have
  double tokens = 0;         // of those looked at, on average
  double waited = 0;         // s, for weights from disk
  double disk = 0;           // s, that reading them should take
  std::array<double, exec::kLoggedDevices> device_seconds = {}, device_predicted = {};
  // The pass that runs; 0: none does.
  double running = 0;
  double running_predicted = 0;
  double running_tokens = 0;
};

struct Sample {
  double time = 0;       // s, a clock that stands while the machine sleeps
  double wall_time = 0;  // s, one that does not
  ProcessSample process;
  MachineSample machine;
  GroupSample group;
  ProcessorSample processor;
  DiskSample disk;
  std::array<GpuSample, exec::kLoggedDevices> gpus;  // by device of the plan; that of the CPU is not used
  PassSample passes;
};

}  // namespace loadline::watch
