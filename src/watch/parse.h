// Reads what the kernel's text files say, without allocating. Whatever is missing or malformed reads as nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "watch/sample.h"

namespace loadline::watch {

// The first line of /proc/stat, and how many processors have lines of their own (proc(5)).
struct ProcessorTimes {
  double busy = 0, stolen = 0;  // s
  std::uint32_t processors = 0;
};
std::optional<ProcessorTimes> parse_processor_times(std::string_view stat);

// /proc/PID/stat: the name of the program may hold anything, parentheses and spaces too.
struct ProcessTimes {
  std::uint64_t major_faults = 0;
  double ran = 0;  // s
};
std::optional<ProcessTimes> parse_process_times(std::string_view stat);

// /proc/PID/task/TID/schedstat: time on a processor, time waiting for one, in s.
struct TaskTimes {
  double ran = 0, waited = 0;
};
std::optional<TaskTimes> parse_task_times(std::string_view schedstat);

// /proc/pressure/X and cgroup's X.pressure.
std::optional<Pressure> parse_pressure(std::string_view text);

// The line of a device in /proc/diskstats.
std::optional<DiskSample> parse_disk(std::string_view diskstats, std::uint32_t major, std::uint32_t minor);

// The number after `key` in lines of "key value", "key: value kB" or "key value unit"; with a unit of KiB, MiB or kB in
// bytes.
std::optional<std::uint64_t> parse_value(std::string_view text, std::string_view key);
std::optional<std::uint64_t> parse_whole(std::string_view text);

// A client of a graphics driver (/proc/PID/fdinfo/N; kernel: gpu/drm-usage-stats.rst).
struct GraphicsClient {
  std::string_view driver, device;  // "amdgpu", "0000:03:00.0"
  std::uint64_t id = 0;
  Bytes in_device, in_system;
};
std::optional<GraphicsClient> parse_graphics_client(std::string_view fdinfo);

// The clock of the line with a star in amdgpu's pp_dpm_sclk, and the highest: "1: 1500Mhz *". Hz.
struct ClockLevels {
  double now = 0, most = 0;
};
std::optional<ClockLevels> parse_clock_levels(std::string_view text);

}  // namespace loadline::watch
