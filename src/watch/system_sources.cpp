// What the system says of this process, of the machine, of the control groups and of the disk.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "hardware/control_groups.h"
#include "hardware/system_files.h"
#include "watch/parse.h"
#include "watch/sources.h"
#include "watch/system_file.h"

namespace loadline::watch {
namespace {

namespace fs = std::filesystem;

constexpr int kLookAgain = 16;  // samples between two looks for what is new

std::optional<Bytes> bytes_of(std::string_view text, std::string_view key) {
  const auto value = parse_value(text, key);
  return value ? std::optional(Bytes(*value)) : std::nullopt;
}

class ProcessSource final : public Source {
 public:
  explicit ProcessSource(const fs::path& root)
      : tasks_(root / "proc/self/task"), stat_(root / "proc/self/stat"), status_(root / "proc/self/status") {}

  void read(Sample& sample) override {
    ProcessSample& process = sample.process;
    if (const auto times = parse_process_times(stat_.read())) {
      process.major_faults = times->major_faults;
      process.ran = times->ran;
    }
    const std::string_view status = status_.read();
    const std::optional<Bytes> anonymous = bytes_of(status, "RssAnon");
    if (anonymous) process.held = *anonymous + bytes_of(status, "RssShmem").value_or(Bytes());
    process.swapped = bytes_of(status, "VmSwap");
    if (samples_++ % kLookAgain == 0) find_tasks();
    wait_for_processors(process);
  }

  [[nodiscard]] std::vector<std::string> missing() const override {
    if (tasks_read_) return {};
    return {"how long threads wait for a processor (schedstat)"};
  }

 private:
  // A thread that ended takes its counts along; what is counted here never falls.
  struct Task {
    SystemFile file;
    TaskTimes last;
  };
  void find_tasks() {
    std::error_code problem;
    std::map<std::string, Task> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(tasks_, problem)) {
      const std::string name = entry.path().filename();
      const auto known = known_tasks_.find(name);
      found.emplace(name, known != known_tasks_.end() ? std::move(known->second)
                                                      : Task{SystemFile(entry.path() / "schedstat"), {}});
    }
    known_tasks_ = std::move(found);
  }
  void wait_for_processors(ProcessSample& process) {
    for (auto& [name, task] : known_tasks_) {
      const auto times = parse_task_times(task.file.read());
      if (!times) continue;
      tasks_read_ = true;
      waited_ += std::max(0.0, times->waited - task.last.waited);
      ran_ += std::max(0.0, times->ran - task.last.ran);
      task.last = *times;
    }
    if (!tasks_read_) return;
    process.waited = waited_;
    process.ran = ran_;  // finer than that of stat
  }

  fs::path tasks_;
  SystemFile stat_, status_;
  std::map<std::string, Task> known_tasks_;
  double waited_ = 0, ran_ = 0;
  bool tasks_read_ = false;
  int samples_ = 0;
};

class MachineSource final : public Source {
 public:
  explicit MachineSource(const fs::path& root)
      : stat_(root / "proc/stat"),
        memory_(root / "proc/meminfo"),
        pages_(root / "proc/vmstat"),
        processor_pressure_(root / "proc/pressure/cpu"),
        memory_pressure_(root / "proc/pressure/memory"),
        disk_pressure_(root / "proc/pressure/io") {}

  void read(Sample& sample) override {
    MachineSample& machine = sample.machine;
    if (const auto times = parse_processor_times(stat_.read())) {
      machine.busy = times->busy;
      machine.stolen = times->stolen;
      machine.processors = times->processors;
    }
    const std::string_view memory = memory_.read();
    machine.total = bytes_of(memory, "MemTotal");
    machine.available = bytes_of(memory, "MemAvailable");
    const std::string_view pages = pages_.read();
    machine.swapped_in = parse_value(pages, "pswpin");
    machine.swapped_out = parse_value(pages, "pswpout");
    machine.processor_pressure = parse_pressure(processor_pressure_.read());
    machine.memory_pressure = parse_pressure(memory_pressure_.read());
    machine.disk_pressure = parse_pressure(disk_pressure_.read());
  }

  [[nodiscard]] std::vector<std::string> missing() const override {
    if (memory_pressure_.is_there()) return {};
    return {"pressure (/proc/pressure)"};
  }

 private:
  SystemFile stat_, memory_, pages_, processor_pressure_, memory_pressure_, disk_pressure_;
};

// kernel: admin-guide/cgroup-v1/memory.rst, admin-guide/cgroup-v2.rst.
class GroupSource final : public Source {
 public:
  explicit GroupSource(const fs::path& root) {
    for (const hardware::ControlGroup& group : hardware::control_groups("memory", root)) {
      const auto file = [&](const char* version1, const char* version2) {
        return SystemFile(group.folder / (group.version2 ? version2 : version1));
      };
      groups_.push_back({group.version2, file("memory.limit_in_bytes", "memory.max"),
                         file("memory.limit_in_bytes", "memory.high"), file("memory.usage_in_bytes", "memory.current"),
                         file("memory.stat", "memory.stat"), file("memory.failcnt", "memory.events")});
    }
    for (const hardware::ControlGroup& group : hardware::control_groups("cpu", root)) {
      processors_.push_back({group.version2, SystemFile(group.folder / "cpu.stat")});
    }
  }

  void read(Sample& sample) override {
    for (const Group& group : groups_) read_group(group, sample.group);
    for (const Processors& group : processors_) {
      const std::string_view stat = group.stat.read();
      const auto time = parse_value(stat, group.version2 ? "throttled_usec" : "throttled_time");
      if (!time) continue;
      const double seconds = static_cast<double>(*time) * (group.version2 ? 1e-6 : 1e-9);
      sample.group.held_back = std::max(sample.group.held_back.value_or(0), seconds);
    }
  }

 private:
  struct Group {
    bool version2;
    SystemFile limit, soft_limit, usage, stat, events;
  };
  struct Processors {
    bool version2;
    SystemFile stat;
  };

  static void read_group(const Group& group, GroupSample& sample) {
    if (group.version2) {
      const std::string_view events = group.events.read();
      const auto high = parse_value(events, "high");
      const auto full = parse_value(events, "max");
      if (high || full) sample.full = sample.full.value_or(0) + high.value_or(0) + full.value_or(0);
    } else if (const auto full = group.events.number()) {
      sample.full = sample.full.value_or(0) + *full;
    }
    constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 62;  // version 1 has a number for it, version 2 a word
    const std::uint64_t limit =
        std::min(group.limit.number().value_or(kUnlimited), group.soft_limit.number().value_or(kUnlimited));
    const auto usage = group.usage.number();
    if (limit >= kUnlimited || !usage) return;
    const std::string_view stat = group.stat.read();
    const std::string_view prefix = group.version2 ? "" : "total_";
    std::uint64_t gives_way = 0;
    for (const std::string_view key : {"inactive_file", "active_file"}) {
      char name[32] = {};
      const std::size_t length = prefix.copy(name, prefix.size());
      (void)key.copy(name + length, key.size());
      gives_way += parse_value(stat, name).value_or(0);
    }
    const std::uint64_t used = *usage > gives_way ? *usage - gives_way : 0;
    const auto left = [](std::uint64_t most, std::uint64_t taken) { return most > taken ? most - taken : 0; };
    const bool tighter =
        !sample.limit || !sample.used || left(limit, used) < left(sample.limit->value, sample.used->value);
    if (!tighter) return;
    sample.limit = Bytes(limit);
    sample.used = Bytes(used);
  }

  std::vector<Group> groups_;
  std::vector<Processors> processors_;
};

class ProcessorSource final : public Source {
 public:
  explicit ProcessorSource(const fs::path& root) {
    constexpr int kMost = 4096;
    constexpr std::size_t kLookedAt = 8;  // asking each costs an interruption of it
    std::vector<fs::path> all;
    for (int i = 0; i < kMost; ++i) {
      const fs::path folder = root / ("sys/devices/system/cpu/cpu" + std::to_string(i));
      std::error_code problem;
      if (!fs::is_directory(folder, problem)) break;
      all.push_back(folder);
    }
    const std::size_t step = std::max<std::size_t>(1, all.size() / kLookedAt);
    for (std::size_t i = 0; i < all.size(); i += step) {
      SystemFile clock(all[i] / "cpufreq/scaling_cur_freq");
      const auto most = hardware::read_number(all[i] / "cpufreq/cpuinfo_max_freq");
      if (clock.is_there() && most) clocks_.push_back({std::move(clock), 1e3 * static_cast<double>(*most)});
      for (const char* part : {"core", "package"}) {
        const std::string name = std::string("thermal_throttle/") + part;
        SystemFile time(all[i] / (name + "_throttle_total_time_ms"));
        if (time.is_there()) {
          slowed_.push_back({std::move(time), 1e-3});
        } else if (SystemFile count(all[i] / (name + "_throttle_count")); count.is_there()) {
          slowed_.push_back({std::move(count), 1});
        }
      }
    }
    find_temperature(root);
  }

  void read(Sample& sample) override {
    double clock = 0;
    double most = 0;
    std::size_t count = 0;
    for (const Clock& one : clocks_) {
      const auto now = one.file.number();
      if (!now) continue;
      clock += 1e3 * static_cast<double>(*now);
      most += one.most;
      ++count;
    }
    ProcessorSample& processor = sample.processor;
    if (count > 0) {
      processor.clock = clock / static_cast<double>(count);
      processor.most_clock = most / static_cast<double>(count);
    }
    for (const Slowed& one : slowed_) {
      const auto now = one.file.number();
      if (now) processor.slowed = std::max(processor.slowed.value_or(0), one.unit * static_cast<double>(*now));
    }
    if (const auto degrees = temperature_.number()) processor.temperature = 1e-3 * static_cast<double>(*degrees);
    processor.hot = hot_;
  }

  [[nodiscard]] std::vector<std::string> missing() const override {
    std::vector<std::string> all;
    if (clocks_.empty()) all.emplace_back("clocks (cpufreq)");
    if (!temperature_.is_there()) all.emplace_back("temperatures");
    return all;
  }

 private:
  struct Clock {
    SystemFile file;
    double most;  // Hz
  };
  struct Slowed {
    SystemFile file;
    double unit;  // s, or times
  };
  void find_temperature(const fs::path& root) {
    std::error_code problem;
    for (const fs::directory_entry& entry : fs::directory_iterator(root / "sys/class/hwmon", problem)) {
      const std::string name = hardware::read_system_file(entry.path() / "name");
      if (name != "coretemp" && name != "k10temp" && name != "zenpower" && name != "cpu_thermal") continue;
      temperature_ = SystemFile(entry.path() / "temp1_input");
      for (const char* limit : {"temp1_crit", "temp1_max"}) {
        if (const auto degrees = hardware::read_number(entry.path() / limit); degrees && !hot_) {
          hot_ = 1e-3 * static_cast<double>(*degrees);
        }
      }
    }
    if (temperature_.is_there()) return;
    for (const fs::directory_entry& entry : fs::directory_iterator(root / "sys/class/thermal", problem)) {
      const std::string type = hardware::read_system_file(entry.path() / "type");
      if (type.find("pkg") == std::string::npos && type.find("cpu") == std::string::npos) continue;
      temperature_ = SystemFile(entry.path() / "temp");
    }
  }

  std::vector<Clock> clocks_;
  std::vector<Slowed> slowed_;
  SystemFile temperature_;
  std::optional<double> hot_;
};

class DiskSource final : public Source {
 public:
  DiskSource(const fs::path& root, std::uint32_t major, std::uint32_t minor)
      : file_(root / "proc/diskstats"), major_(major), minor_(minor) {}
  void read(Sample& sample) override {
    if (const auto disk = parse_disk(file_.read(), major_, minor_)) sample.disk = *disk;
  }

 private:
  SystemFile file_;
  std::uint32_t major_, minor_;
};

}  // namespace

std::unique_ptr<Source> process_source(const fs::path& root) { return std::make_unique<ProcessSource>(root); }
std::unique_ptr<Source> machine_source(const fs::path& root) { return std::make_unique<MachineSource>(root); }
std::unique_ptr<Source> group_source(const fs::path& root) { return std::make_unique<GroupSource>(root); }
std::unique_ptr<Source> processor_source(const fs::path& root) { return std::make_unique<ProcessorSource>(root); }
std::unique_ptr<Source> disk_source(const fs::path& root, std::uint32_t major, std::uint32_t minor) {
  return std::make_unique<DiskSource>(root, major, minor);
}

Sources system_sources(const SourceOptions& options) {
  Sources all;
  all.push_back(process_source(options.root));
  all.push_back(machine_source(options.root));
  all.push_back(group_source(options.root));
  all.push_back(processor_source(options.root));
  struct stat status{};
  if (!options.model.empty() && ::stat(options.model.c_str(), &status) == 0) {
    all.push_back(disk_source(options.root, major(status.st_dev), minor(status.st_dev)));
  }
  for (const WatchedGpu& gpu : options.gpus) {
    if (gpu.device == 0 || gpu.device >= exec::kLoggedDevices) continue;
    if (!gpu.bus_address.empty()) {
      all.push_back(amdgpu_source(options.root, gpu));
      all.push_back(graphics_client_source(options.root, gpu));
      all.push_back(nvml_source(gpu));
    }
    if (gpu.memory_use) all.push_back(budget_source(gpu));
  }
  return all;
}

}  // namespace loadline::watch
