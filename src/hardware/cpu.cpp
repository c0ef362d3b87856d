// The processor: cores, caches, instruction sets, NUMA.
#include <sched.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "base/matrix_unit.h"
#include "hardware/probe.h"
#include "hardware/system_files.h"

namespace loadline::hardware {
namespace {

namespace fs = std::filesystem;

// The kernel's names of processor features, and those of the kernel tables.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kFeatures = {{
    {"avx2", "avx2"},
    {"fma", "fma"},
    {"f16c", "f16c"},
    {"avx_vnni", "avx_vnni"},
    {"avx512f", "avx512"},
    {"avx512_vnni", "avx512_vnni"},
    {"avx512_bf16", "avx512_bf16"},
    {"amx_int8", "amx_int8"},
    {"amx_bf16", "amx_bf16"},
    {"asimd", "neon"},
    {"asimddp", "dotprod"},
}};

// "0-3,8" as numbers.
std::vector<std::uint32_t> parse_list(std::string_view text) {
  std::vector<std::uint32_t> numbers;
  for (const std::string_view part : split(text, ',')) {
    const std::size_t dash = part.find('-');
    const auto first = to_number(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : to_number(part.substr(dash + 1));
    if (!first || !last || *last > 65535) continue;
    for (std::uint64_t i = *first; i <= *last; ++i) numbers.push_back(static_cast<std::uint32_t>(i));
  }
  return numbers;
}

bool may_run_on(std::uint32_t cpu, const fs::path& root) {
  if (root != "/") return true;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return true;
  return cpu >= CPU_SETSIZE || CPU_ISSET(cpu, &allowed);
}

// Physical cores this process may use: threads that share one are of no use to kernels that wait for memory or fill
// the vector units.
std::uint32_t count_cores(const fs::path& root) {
  const fs::path cpus = root / "sys/devices/system/cpu";
  std::set<std::pair<std::uint64_t, std::uint64_t>> cores;
  for (const std::uint32_t cpu : parse_list(read_system_file(cpus / "online"))) {
    if (!may_run_on(cpu, root)) continue;
    const fs::path topology = cpus / ("cpu" + std::to_string(cpu)) / "topology";
    const std::uint64_t package = read_number(topology / "physical_package_id").value_or(0);
    cores.emplace(package, read_number(topology / "core_id").value_or(cpu));
  }
  return std::max<std::uint32_t>(1, static_cast<std::uint32_t>(cores.size()));
}

// A control group may grant less processor time than the cores have: quota over period (cpu.max, cpu.cfs_quota_us).
std::uint32_t limit_by_quota(std::uint32_t cores, const fs::path& root) {
  const std::string version2 = read_system_file(root / "sys/fs/cgroup/cpu.max");
  std::optional<std::uint64_t> quota;
  std::optional<std::uint64_t> period;
  if (!version2.empty()) {
    const auto parts = split(version2, ' ');
    quota = to_number(parts[0]);
    if (parts.size() > 1) period = to_number(parts[1]);
  } else {
    quota = read_number(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    period = read_number(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us");
  }
  if (!quota || !period || *period == 0) return cores;
  const auto granted = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, (*quota + *period / 2) / *period));
  return std::min(cores, granted);
}

std::string_view value_of(std::string_view text, std::string_view key) {
  for (const std::string_view line : split(text, '\n')) {
    if (!line.starts_with(key)) continue;
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos) return trim(line.substr(colon + 1));
  }
  return {};
}

void read_caches(const fs::path& root, Cpu& cpu) {
  for (int index = 0; index < 16; ++index) {
    const fs::path folder = root / "sys/devices/system/cpu/cpu0/cache" / ("index" + std::to_string(index));
    const auto level = read_number(folder / "level");
    if (!level) break;
    const std::string size = read_system_file(folder / "size");  // "4096K"
    const std::uint64_t unit = size.ends_with('M') ? 1 << 20 : 1 << 10;
    const Bytes bytes(to_number(size).value_or(0) * unit);
    if (*level == 2) cpu.l2 = bytes;
    if (*level == 3) cpu.l3 = bytes;
  }
}

}  // namespace

std::uint32_t probe_processors(const fs::path& root) {
  std::uint32_t count = 0;
  for (const std::uint32_t cpu : parse_list(read_system_file(root / "sys/devices/system/cpu/online"))) {
    if (may_run_on(cpu, root)) ++count;
  }
  return limit_by_quota(std::max(1U, count), root);
}

Cpu probe_cpu(const fs::path& root) {
  Cpu cpu;
  const std::string info = read_system_file(root / "proc/cpuinfo");
  cpu.model = value_of(info, "model name");
  const auto features =
      split(value_of(info, "flags").empty() ? value_of(info, "Features") : value_of(info, "flags"), ' ');
  for (const auto& [kernel_name, name] : kFeatures) {
    if (std::ranges::find(features, kernel_name) != features.end()) cpu.instruction_sets.emplace_back(name);
  }
  // A container may keep programs from the matrix unit.
  if (root == "/" && !has_matrix_unit()) std::erase(cpu.instruction_sets, "amx_bf16");
  cpu.cores = limit_by_quota(count_cores(root), root);
  read_caches(root, cpu);
  const auto nodes = parse_list(read_system_file(root / "sys/devices/system/node/online"));
  cpu.numa_nodes = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(nodes.size()));
  return cpu;
}

}  // namespace loadline::hardware
