#include "hardware/control_groups.h"

#include <algorithm>
#include <string>

#include "hardware/system_files.h"

namespace loadline::hardware {
namespace {

namespace fs = std::filesystem;

// The folder of this process's group in a mounted hierarchy: the group's path is seen from the root of the hierarchy,
// of which a container often mounts only a part.
fs::path group_folder(const Mount& mount, std::string_view group, const fs::path& root) {
  const fs::path point = root / fs::path(mount.point).relative_path();
  if (mount.root != "/" && group.starts_with(mount.root)) {
    group.remove_prefix(mount.root.size());
  } else if (mount.root != "/") {
    group = {};
  }
  while (group.starts_with('/')) group.remove_prefix(1);
  const fs::path folder = point / group;
  std::error_code ignored;
  return fs::is_directory(folder, ignored) ? folder : point;
}

bool lists(std::string_view names, std::string_view name) {
  const auto parts = split(names, ',');
  return std::ranges::find(parts, name) != parts.end();
}

}  // namespace

std::vector<ControlGroup> control_groups(std::string_view controller, const fs::path& root) {
  std::vector<ControlGroup> found;
  const std::string groups = read_system_file(root / "proc/self/cgroup");
  const std::vector<Mount> mounts = read_mounts(root);
  for (const std::string_view line : split(groups, '\n')) {
    // "hierarchy:controllers:path"
    const std::size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    for (const Mount& mount : mounts) {
      const bool version2 = controllers.empty() && mount.type == "cgroup2";
      const bool version1 =
          lists(controllers, controller) && mount.type == "cgroup" && lists(mount.options, controller);
      if (!version1 && !version2) continue;
      const fs::path point = root / fs::path(mount.point).relative_path();
      for (fs::path folder = group_folder(mount, path, root);; folder = folder.parent_path()) {
        found.push_back({folder, version2});
        if (folder == point || !folder.has_relative_path()) break;
      }
    }
  }
  return found;
}

}  // namespace loadline::hardware
