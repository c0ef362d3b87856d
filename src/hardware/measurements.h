// What was measured of this machine, remembered between runs under the user's cache folder.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "hardware/profile.h"

namespace loadline::hardware {

// Told what is being measured and how much of it all is done, from 0 to 1. What it throws ends the measurement.
using MeasureProgress = std::function<void(std::string_view what, double done)>;

// What a figure is measured with; tests have others. `share` as in measure_cpu.h.
struct Meters {
  std::function<double(unsigned threads, Bytes size, double* share)> read_bandwidth;
  std::function<double(unsigned threads, double* share)> int8_peak, float_peak, matrix_peak;
  std::function<double()> stolen;  // seconds that a hypervisor kept the processors from this machine, all together
  std::function<std::optional<double>(const std::filesystem::path& place)> direct_read;
};
Meters real_meters();

// Whether the processors were there while they were measured.
struct MeasuredHow {
  bool undisturbed = true;
  double share = 1;  // of the processors, while the worst of the figures was taken
};

// Fills in the measured figures of a probed profile: read bandwidth of RAM with 1 .. cores threads, int8 and float32
// peaks with all cores, and direct reads of the disk. `place` is on that disk: a file (the model), or a folder, in
// which a nameless file of 256 MiB is written and read. A few seconds. GPUs are measured through the backend that
// drives them: engine/measure_gpu.h. Where others have the processors a figure is measured again, a few times; where
// they have them still, the figures of processor and RAM stay what they were.
MeasuredHow measure(Profile& profile, const std::filesystem::path& place, const MeasureProgress& progress,
                    const Meters& meters = real_meters());

// Bytes/s of direct reads of up to 1 GiB of a file, several in flight, past the page cache; of a file made in `place`
// where that is a folder. nullopt where the file is under 64 MiB, cannot be made, or its file system refuses direct
// reads.
std::optional<double> measure_direct_read(const std::filesystem::path& place);

// $XDG_CACHE_HOME/loadline/hardware.json, or under ~/.cache; empty where neither is known.
std::filesystem::path measurements_path();

// One entry for each machine (processor, cores, RAM) in the file; in it, disks by name and GPUs by id and name. A file
// that is missing or damaged holds nothing, and what it does not hold stays as it is in the profile. `remember` throws
// Error(BadInput) where the file cannot be written.
void recall(Profile& profile, const std::filesystem::path& file);
void remember(const Profile& profile, const std::filesystem::path& file);

}  // namespace loadline::hardware
