// RAM, swap and the limits of control groups, versions 1 and 2.
#include <unistd.h>

#include <algorithm>

#include "hardware/probe.h"
#include "hardware/system_files.h"

namespace loadline::hardware {
namespace {

namespace fs = std::filesystem;

// What one control group may still take.
struct GroupMemory {
  Bytes limit;
  Bytes left;
};

// The files of the two versions (kernel: admin-guide/cgroup-v1/memory.rst, admin-guide/cgroup-v2.rst).
struct GroupFiles {
  const char* limits[2];
  const char* usage;
  const char* prefix;  // of memory.stat: v1 sums over the children under its own names
};
constexpr GroupFiles kVersion1 = {{"memory.limit_in_bytes", nullptr}, "memory.usage_in_bytes", "total_"};
constexpr GroupFiles kVersion2 = {{"memory.max", "memory.high"}, "memory.current", ""};

// Nobody but this process is in the group or below it: all that the group holds is this process's own, or gives way.
// (Kernel memory and what is charged ahead in batches cannot be told apart by owner where there are several.)
bool is_alone(const fs::path& folder) {
  const std::string processes = read_system_file(folder / "cgroup.procs");
  if (trim(processes) != std::to_string(::getpid())) return false;
  std::error_code problem;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, problem)) {
    if (entry.is_directory(problem)) return false;
  }
  return !problem;
}

std::optional<GroupMemory> read_group(const fs::path& folder, const GroupFiles& files) {
  // Version 1 writes "no limit" as the largest multiple of a page, version 2 as "max".
  constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 62;
  std::optional<std::uint64_t> limit;
  for (const char* name : files.limits) {
    if (name == nullptr) continue;
    const auto value = read_number(folder / name);
    if (value && *value < kUnlimited) limit = std::min(limit.value_or(*value), *value);
  }
  if (!limit) return std::nullopt;
  if (is_alone(folder)) return GroupMemory{Bytes(*limit), Bytes(*limit)};
  const std::uint64_t usage = read_number(folder / files.usage).value_or(0);
  // Clean page cache and reclaimable kernel memory give way.
  const std::string stat = read_system_file(folder / "memory.stat");
  std::uint64_t gives_way = 0;
  for (const char* name : {"inactive_file", "active_file"}) {
    gives_way += find_number(stat, std::string(files.prefix) + name).value_or(0);
  }
  gives_way += find_number(stat, "slab_reclaimable").value_or(0);
  const std::uint64_t held = usage > gives_way ? usage - gives_way : 0;
  return GroupMemory{Bytes(*limit), Bytes(*limit > held ? *limit - held : 0)};
}

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

// The tightest of the group and all it lies in.
void apply_limits(const Mount& mount, std::string_view group, const GroupFiles& files, const fs::path& root, Ram& ram) {
  const fs::path point = root / fs::path(mount.point).relative_path();
  for (fs::path folder = group_folder(mount, group, root);; folder = folder.parent_path()) {
    if (const auto memory = read_group(folder, files)) {
      if (memory->limit < ram.total) {
        ram.cgroup_limit = std::min(ram.cgroup_limit.value_or(memory->limit), memory->limit);
      }
      ram.available = std::min(ram.available, memory->left);
    }
    if (folder == point || !folder.has_relative_path()) return;
  }
}

bool lists(std::string_view names, std::string_view name) {
  const auto parts = split(names, ',');
  return std::ranges::find(parts, name) != parts.end();
}

void read_groups(const fs::path& root, Ram& ram) {
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
      if (controllers.empty() && mount.type == "cgroup2") {
        apply_limits(mount, path, kVersion2, root, ram);
      } else if (lists(controllers, "memory") && mount.type == "cgroup" && lists(mount.options, "memory")) {
        apply_limits(mount, path, kVersion1, root, ram);
      }
    }
  }
}

}  // namespace

Ram probe_ram(const fs::path& root) {
  const std::string info = read_system_file(root / "proc/meminfo");
  const auto kilobytes = [&](const char* key) { return Bytes(find_number(info, key).value_or(0) * 1024); };
  Ram ram;
  ram.total = kilobytes("MemTotal");
  ram.available = kilobytes("MemAvailable");
  ram.swap_total = kilobytes("SwapTotal");
  ram.swap_used = ram.swap_total - std::min(ram.swap_total, kilobytes("SwapFree"));
  read_groups(root, ram);
  const std::string own = read_system_file(root / "proc/self/status");
  ram.available += Bytes(find_number(own, "RssAnon").value_or(0) * 1024);
  ram.available = std::min(ram.available, ram.cgroup_limit.value_or(ram.total));
  return ram;
}

Bytes held_memory(const fs::path& root) {
  const std::string own = read_system_file(root / "proc/self/status");
  std::uint64_t kilobytes = 0;
  for (const char* name : {"RssAnon", "RssShmem", "VmPTE"}) kilobytes += find_number(own, name).value_or(0);
  return Bytes(kilobytes * 1024);
}

}  // namespace loadline::hardware
