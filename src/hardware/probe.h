// Asks the operating system and the drivers what this machine has. Quick (no measurement) and free of side effects.
// What cannot be found out is left at its default; a probe never throws for that.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "hardware/profile.h"

namespace loadline::hardware {

// Which graphics devices are looked for. Asking their drivers takes a tenth of a second or so.
enum class Graphics : std::uint8_t {
  Hardware,  // where the system has any
  All,       // software devices too
};

// Processor, RAM and disk, without measured figures; GPUs are probe_gpus' affair. `model_path` (may be empty: the
// current folder) says which disk is meant.
Profile probe(const std::filesystem::path& model_path = {});

// The parts. `root` is where /proc and /sys are looked for, so that tests can show other machines.
Cpu probe_cpu(const std::filesystem::path& root = "/");
// Processors that this process may use, hyper-threads counted, as far as its control group grants them: more threads
// than that wait for each other.
std::uint32_t probe_processors(const std::filesystem::path& root = "/");
// `available` counts what this process already holds as available: the plan accounts for it.
Ram probe_ram(const std::filesystem::path& root = "/");
// What this process holds that the system cannot drop: anonymous and shared pages, in RAM or swapped out, and their
// page tables.
Bytes held_memory(const std::filesystem::path& root = "/");
// Of that, what is swapped out now.
Bytes swapped_memory(const std::filesystem::path& root = "/");
// The GPUs that a run may use: those named (ids like "vulkan0" or parts of names; one named twice is there twice;
// "none"), or with no names all that are not software. Throws Error(BadInput) for a name that fits none, saying which
// there are.
std::vector<Gpu> probe_gpus(const std::vector<std::string>& named = {});
// Everything there is that the backend can use, software devices too.
std::vector<Gpu> list_gpus();
Disk probe_disk(const std::filesystem::path& path, const std::filesystem::path& root = "/");

}  // namespace loadline::hardware
