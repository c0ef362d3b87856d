#include "watch/parse.h"

#include <array>
#include <charconv>
#include <cmath>

namespace loadline::watch {
namespace {

constexpr double kTicksPerSecond = 100;  // USER_HZ, on every platform that is supported

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view next_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return line;
}

std::string_view next_word(std::string_view& line) {
  while (!line.empty() && is_space(line.front())) line.remove_prefix(1);
  std::size_t end = 0;
  while (end < line.size() && !is_space(line[end])) ++end;
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

template <class Number>
std::optional<Number> number_of(std::string_view word) {
  Number value{};
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (problem != std::errc() || end != word.data() + word.size() || word.empty()) return std::nullopt;
  return value;
}

// Saturates: files of the kernel do not reach that, and others may.
std::uint64_t scaled(std::uint64_t value, std::uint64_t factor) {
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  return value > kMost / factor ? kMost : value * factor;
}

std::uint64_t added(std::uint64_t a, std::uint64_t b) { return a + b < a ? ~std::uint64_t{0} : a + b; }

// A number and perhaps its unit.
std::optional<std::uint64_t> quantity(std::string_view rest) {
  const auto value = number_of<std::uint64_t>(next_word(rest));
  if (!value) return std::nullopt;
  const std::string_view unit = next_word(rest);
  if (unit == "kB" || unit == "KiB") return scaled(*value, 1024);
  if (unit == "MiB") return scaled(*value, 1024 * 1024);
  return value;
}

}  // namespace

std::optional<std::uint64_t> parse_whole(std::string_view text) {
  std::string_view line = next_line(text);
  return number_of<std::uint64_t>(next_word(line));
}

std::optional<std::uint64_t> parse_value(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    std::string_view line = next_line(text);
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    if (line.starts_with(':')) line.remove_prefix(1);
    if (line.empty() || !is_space(line.front())) continue;
    return quantity(line);
  }
  return std::nullopt;
}

std::optional<ProcessorTimes> parse_processor_times(std::string_view stat) {
  std::string_view first = next_line(stat);
  if (next_word(first) != "cpu") return std::nullopt;
  // user nice system idle iowait irq softirq steal
  std::array<double, 8> ticks = {};
  for (double& tick : ticks) {
    const auto value = number_of<std::uint64_t>(next_word(first));
    if (!value) return std::nullopt;
    tick = static_cast<double>(*value);
  }
  ProcessorTimes times;
  times.busy = (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / kTicksPerSecond;
  times.stolen = ticks[7] / kTicksPerSecond;
  while (stat.starts_with("cpu")) {
    (void)next_line(stat);
    ++times.processors;
  }
  return times;
}

std::optional<ProcessTimes> parse_process_times(std::string_view stat) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  std::string_view rest = stat.substr(name_end + 1);
  // From the third field on: state is 3, majflt 12, utime 14, stime 15.
  std::array<std::uint64_t, 16> fields = {};
  (void)next_word(rest);
  for (std::size_t field = 4; field < fields.size(); ++field) {
    const std::string_view word = next_word(rest);
    if (field == 12 || field == 14 || field == 15) {
      const auto value = number_of<std::uint64_t>(word);
      if (!value) return std::nullopt;
      fields[field] = *value;
    }
  }
  return ProcessTimes{fields[12],
                      (static_cast<double>(fields[14]) + static_cast<double>(fields[15])) / kTicksPerSecond};
}

std::optional<TaskTimes> parse_task_times(std::string_view schedstat) {
  std::string_view line = next_line(schedstat);
  const auto ran = number_of<std::uint64_t>(next_word(line));
  const auto waited = number_of<std::uint64_t>(next_word(line));
  if (!ran || !waited) return std::nullopt;
  return TaskTimes{1e-9 * static_cast<double>(*ran), 1e-9 * static_cast<double>(*waited)};
}

std::optional<Pressure> parse_pressure(std::string_view text) {
  Pressure pressure;
  bool found = false;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    const std::string_view kind = next_word(line);
    double* target = kind == "some" ? &pressure.some : kind == "full" ? &pressure.full : nullptr;
    constexpr std::string_view kTotal = "total=";
    const std::size_t at = line.find(kTotal);
    if (target == nullptr || at == std::string_view::npos) continue;
    line.remove_prefix(at + kTotal.size());
    const auto value = number_of<std::uint64_t>(next_word(line));
    if (!value) continue;
    *target = 1e-6 * static_cast<double>(*value);
    found = true;
  }
  return found ? std::optional(pressure) : std::nullopt;
}

std::optional<DiskSample> parse_disk(std::string_view diskstats, std::uint32_t major, std::uint32_t minor) {
  constexpr std::uint64_t kSector = 512;  // whatever the disk's own are (kernel: admin-guide/iostats.rst)
  while (!diskstats.empty()) {
    std::string_view line = next_line(diskstats);
    if (number_of<std::uint32_t>(next_word(line)) != major) continue;
    if (number_of<std::uint32_t>(next_word(line)) != minor) continue;
    (void)next_word(line);                     // its name
    std::array<std::uint64_t, 4> fields = {};  // reads, merged, sectors, ms
    for (std::uint64_t& field : fields) {
      const auto value = number_of<std::uint64_t>(next_word(line));
      if (!value) return std::nullopt;
      field = *value;
    }
    DiskSample disk;
    disk.reads = fields[0];
    disk.read = Bytes(scaled(fields[2], kSector));
    disk.reading = 1e-3 * static_cast<double>(fields[3]);
    return disk;
  }
  return std::nullopt;
}

std::optional<GraphicsClient> parse_graphics_client(std::string_view fdinfo) {
  GraphicsClient client;
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  std::uint64_t in_system = 0;
  std::uint64_t resident_in_system = 0;
  bool has_resident = false;
  while (!fdinfo.empty()) {
    std::string_view line = next_line(fdinfo);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    line.remove_prefix(colon + 1);
    if (key == "drm-driver") client.driver = next_word(line);
    if (key == "drm-pdev") client.device = next_word(line);
    if (key == "drm-client-id") client.id = number_of<std::uint64_t>(next_word(line)).value_or(0);
    // amdgpu's own name is drm-memory-REGION; drm-resident-REGION is the common one. Regions: vram, vram0, local0; gtt,
    // system, system0.
    for (const std::string_view prefix : {"drm-memory-", "drm-resident-"}) {
      if (!key.starts_with(prefix)) continue;
      const std::string_view region = key.substr(prefix.size());
      const bool is_resident = prefix == "drm-resident-";
      const std::uint64_t bytes = quantity(line).value_or(0);
      if (region.starts_with("vram") || region.starts_with("local")) {
        std::uint64_t& sum = is_resident ? resident : total;
        sum = added(sum, bytes);
        has_resident |= is_resident;
      } else if (region.starts_with("gtt") || region.starts_with("system")) {
        std::uint64_t& sum = is_resident ? resident_in_system : in_system;
        sum = added(sum, bytes);
      }
    }
  }
  if (client.driver.empty() || client.device.empty()) return std::nullopt;
  client.in_device = Bytes(has_resident ? resident : total);
  client.in_system = Bytes(has_resident ? resident_in_system : in_system);
  return client;
}

std::optional<ClockLevels> parse_clock_levels(std::string_view text) {
  ClockLevels levels;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    const std::string_view level = next_word(line);
    std::string_view clock = next_word(line);
    if (!level.ends_with(':') || clock.size() < 4) continue;
    std::string_view unit = clock.substr(clock.size() - 3);
    if (unit != "Mhz" && unit != "MHz") continue;
    clock.remove_suffix(3);
    const auto value = number_of<std::uint32_t>(clock);
    if (!value) continue;
    const double hertz = 1e6 * static_cast<double>(*value);
    levels.most = std::max(levels.most, hertz);
    if (next_word(line) == "*") levels.now = hertz;
  }
  return levels.now > 0 ? std::optional(levels) : std::nullopt;
}

}  // namespace loadline::watch
