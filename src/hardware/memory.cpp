// RAM, swap and the limits of control groups, versions 1 and 2.
#include <unistd.h>

#include <algorithm>

#include "hardware/control_groups.h"
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

// The tightest of the groups.
void read_groups(const fs::path& root, Ram& ram) {
  for (const ControlGroup& group : control_groups("memory", root)) {
    const auto memory = read_group(group.folder, group.version2 ? kVersion2 : kVersion1);
    if (!memory) continue;
    if (memory->limit < ram.total) {
      ram.cgroup_limit = std::min(ram.cgroup_limit.value_or(memory->limit), memory->limit);
    }
    ram.available = std::min(ram.available, memory->left);
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
  for (const char* name : {"RssAnon", "RssShmem", "VmSwap", "VmPTE"}) kilobytes += find_number(own, name).value_or(0);
  return Bytes(kilobytes * 1024);
}

Bytes swapped_memory(const fs::path& root) {
  return Bytes(find_number(read_system_file(root / "proc/self/status"), "VmSwap").value_or(0) * 1024);
}

}  // namespace loadline::hardware
