// The disk that holds a file: its file system and block device.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "hardware/probe.h"
#include "hardware/system_files.h"

namespace loadline::hardware {

namespace fs = std::filesystem;

Disk probe_disk(const fs::path& path, const fs::path& root) {
  Disk disk;
  std::error_code problem;
  fs::path whole = fs::weakly_canonical(path.empty() ? fs::path(".") : path, problem);
  if (problem) whole = path;
  // The mount with the longest point that the path lies under; of several at one point the last one is visible.
  const std::vector<Mount> mounts = read_mounts(root);
  const Mount* found = nullptr;
  for (const Mount& mount : mounts) {
    const std::string& point = mount.point;
    const std::string text = whole.string();
    const bool under =
        text.starts_with(point) && (point.ends_with('/') || text.size() == point.size() || text[point.size()] == '/');
    if (under && (found == nullptr || point.size() >= found->point.size())) found = &mount;
  }
  if (found == nullptr) return disk;
  const std::string source = found->source.starts_with("/dev/") ? found->source.substr(5) : std::string();
  disk.name = source.empty() ? found->type : found->type + " on " + source;
  return disk;
}

}  // namespace loadline::hardware
