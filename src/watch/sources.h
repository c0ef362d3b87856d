// Sources: where samples come from. Each reads one part of the machine; what a machine does not have stays absent from
// its samples, and is named once. Tests give others, or the real ones a folder that looks like another machine's /proc
// and /sys.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/device.h"
#include "watch/sample.h"

namespace loadline::watch {

// Used by one thread. Allocates when constructed, and when the process has new threads or open devices.
class Source {
 public:
  virtual ~Source() = default;
  virtual void read(Sample& sample) = 0;
  // What it should have read and cannot, in a clause each.
  [[nodiscard]] virtual std::vector<std::string> missing() const { return {}; }
};
using Sources = std::vector<std::unique_ptr<Source>>;

// A GPU of the plan.
struct WatchedGpu {
  std::size_t device = 0;   // of the plan
  std::string bus_address;  // "0000:01:00.0"; empty: it has none
  // What its driver says to this process; may be empty.
  std::function<std::optional<backend::MemoryUse>()> memory_use;
};

struct SourceOptions {
  std::filesystem::path root = "/";  // where /proc and /sys are
  std::filesystem::path model;       // whose disk is meant; may be empty
  std::vector<WatchedGpu> gpus;
};

Sources system_sources(const SourceOptions& options);

// The parts of it.
std::unique_ptr<Source> process_source(const std::filesystem::path& root);
std::unique_ptr<Source> machine_source(const std::filesystem::path& root);
std::unique_ptr<Source> group_source(const std::filesystem::path& root);
std::unique_ptr<Source> processor_source(const std::filesystem::path& root);
std::unique_ptr<Source> disk_source(const std::filesystem::path& root, std::uint32_t major, std::uint32_t minor);
std::unique_ptr<Source> amdgpu_source(const std::filesystem::path& root, const WatchedGpu& gpu);
// Of this process's own buffers, by the driver's account of its open files.
std::unique_ptr<Source> graphics_client_source(const std::filesystem::path& root, const WatchedGpu& gpu);
std::unique_ptr<Source> nvml_source(const WatchedGpu& gpu);
std::unique_ptr<Source> budget_source(const WatchedGpu& gpu);

}  // namespace loadline::watch
