#include "hardware/measurements.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "base/output_file.h"
#include "hardware/measure_cpu.h"

namespace loadline::hardware {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Machines differ where these do. RAM in whole GiB: kernels reserve a little more or less.
std::string machine_key(const Profile& profile) {
  return fmt::format("{}, {} cores, {} GiB", profile.cpu.model, profile.cpu.cores,
                     (profile.ram.total.value + kGiB.value / 2) / kGiB.value);
}

// A rate that can be believed; 0 otherwise.
double rate_of(const json& value) {
  if (!value.is_number()) return 0;
  const double rate = value.get<double>();
  return std::isfinite(rate) && rate > 0 && rate < 1e18 ? rate : 0;
}
double rate_of(const json& object, const std::string& key) {
  const auto found = object.find(key);
  return found == object.end() ? 0 : rate_of(*found);
}

// Its place among the machine's devices tells two of one name apart.
std::string gpu_key(const Gpu& gpu) { return fmt::format("{}: {}", gpu.id, gpu.name); }

void recall_gpu(Gpu& gpu, const json& gpus) {
  const auto found = gpus.find(gpu_key(gpu));
  if (found == gpus.end() || !found->is_object()) return;
  const double memory = rate_of(*found, "memory_bandwidth");
  const double host = rate_of(*found, "host_bandwidth");
  const double floats = rate_of(*found, "float_ops");
  if (memory <= 0 || host <= 0 || floats <= 0) return;
  gpu.memory_bandwidth = memory;
  gpu.host_bandwidth = host;
  gpu.float_ops = floats;
}

// Of the device's memory only where it was measured, which not every driver allows.
void recall_context(Gpu& gpu, const json& gpus) {
  const auto found = gpus.find(gpu_key(gpu));
  if (found == gpus.end() || !found->is_object()) return;
  const auto bytes = [&](const char* key, Bytes most) -> std::optional<Bytes> {
    const auto value = found->find(key);
    if (value == found->end() || !value->is_number_unsigned()) return std::nullopt;
    const Bytes size(value->get<std::uint64_t>());
    return size <= most ? std::optional(size) : std::nullopt;
  };
  if (const auto host = bytes("context_host_memory", 64 * kGiB)) gpu.context_host_memory = *host;
  if (const auto device = bytes("context_memory", gpu.total)) {
    gpu.context_memory = *device;
    gpu.context_measured = true;
  }
}

// The eighth figure of the first line: hundredths of seconds in which the machine was ready to run and did not
// (proc(5)).
double stolen_seconds() {
  constexpr int kPlace = 8;
  constexpr double kPerSecond = 100;  // USER_HZ, on every platform that is supported
  try {
    std::istringstream line(read_text_file("/proc/stat", kMiB));
    std::string name;
    double ticks = 0;
    line >> name;
    for (int i = 0; i < kPlace; ++i) line >> ticks;
    return line ? ticks / kPerSecond : 0;
  } catch (const Error&) {
    return 0;
  }
}

std::string today() { return fmt::format("{:%Y-%m-%d}", fmt::localtime(std::time(nullptr))); }

}  // namespace

Meters real_meters() {
  const std::string best = measurable_instruction_sets().back();
  return {
      .read_bandwidth = [](unsigned threads, Bytes size,
                           double* share) { return measure_read_bandwidth(threads, size, share); },
      .int8_peak = [best](unsigned threads, double* share) { return measure_int8_peak(best, threads, share); },
      .float_peak = [best](unsigned threads, double* share) { return measure_float_peak(best, threads, share); },
      .matrix_peak = [](unsigned threads, double* share) { return measure_matrix_peak(threads, share); },
      .stolen = stolen_seconds,
      .direct_read = measure_direct_read,
  };
}

MeasuredHow measure(Profile& profile, const fs::path& place, const MeasureProgress& progress, const Meters& meters) {
  using Clock = std::chrono::steady_clock;
  constexpr int kAttempts = 3;
  constexpr double kUndisturbed = 0.9;  // less, and the figure says more of the others than of the machine
  const std::uint32_t cores = profile.cpu.cores;
  const double steps = cores + 4.0;
  MeasuredHow how;
  const auto undisturbed = [&](const auto& meter) {
    double best = 0;
    double best_share = 0;
    for (int attempt = 0; attempt < kAttempts && best_share < kUndisturbed; ++attempt) {
      double share = 1;
      const Clock::time_point start = Clock::now();
      const double stolen = meters.stolen();
      const double rate = meter(&share);
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      share -= std::min(share, (meters.stolen() - stolen) / std::max(1e-3, seconds * cores));
      if (share > best_share) {
        best = rate;
        best_share = share;
      }
    }
    how.share = std::min(how.share, best_share);
    return best;
  };

  // Far beyond the caches, and no more than a quarter of what is there.
  const Bytes size = std::min(kGiB, profile.ram.available / 4);
  std::vector<double> bandwidth;
  for (std::uint32_t threads = 1; threads <= cores; ++threads) {
    progress(fmt::format("RAM with {} thread{}", threads, threads == 1 ? "" : "s"), (threads - 1) / steps);
    bandwidth.push_back(undisturbed([&](double* share) { return meters.read_bandwidth(threads, size, share); }));
  }
  progress("int8 dot products", cores / steps);
  const double int8 = undisturbed([&](double* share) { return meters.int8_peak(cores, share); });
  progress("float multiply-adds", (cores + 1) / steps);
  const double floats = undisturbed([&](double* share) { return meters.float_peak(cores, share); });
  progress("matrix unit", (cores + 2) / steps);
  const double matrix = undisturbed([&](double* share) { return meters.matrix_peak(cores, share); });
  how.undisturbed = how.share >= kUndisturbed;
  if (how.undisturbed) {
    profile.ram.read_bandwidth = std::move(bandwidth);
    profile.cpu.int8_ops = int8;
    profile.cpu.float_ops = floats;
    profile.cpu.matrix_ops = matrix;
    profile.measured = today();
  }
  progress("disk", (cores + 3) / steps);
  if (const auto rate = meters.direct_read(place)) profile.disk.read_bandwidth = *rate;
  progress("done", 1.0);
  return how;
}

fs::path measurements_path() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    return fs::path(cache) / "loadline" / "hardware.json";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return fs::path(home) / ".cache" / "loadline" / "hardware.json";
  }
  return {};
}

void recall(Profile& profile, const fs::path& file) {
  const json document = read_remembered(file);
  const auto found = document.find(machine_key(profile));
  if (found == document.end() || !found->is_object()) return;
  const json& entry = *found;
  std::vector<double> bandwidth;
  if (const auto list = entry.find("read_bandwidth"); list != entry.end() && list->is_array()) {
    for (const json& item : *list) bandwidth.push_back(rate_of(item));
  }
  const bool complete = bandwidth.size() == profile.cpu.cores && std::ranges::find(bandwidth, 0.0) == bandwidth.end();
  if (complete) profile.ram.read_bandwidth = std::move(bandwidth);
  profile.cpu.int8_ops = rate_of(entry, "int8_ops");
  profile.cpu.float_ops = rate_of(entry, "float_ops");
  profile.cpu.matrix_ops = rate_of(entry, "matrix_ops");
  if (const auto disks = entry.find("disks"); disks != entry.end() && disks->is_object()) {
    profile.disk.read_bandwidth = rate_of(*disks, profile.disk.name);
  }
  if (const auto gpus = entry.find("gpus"); gpus != entry.end() && gpus->is_object()) {
    for (Gpu& gpu : profile.gpus) {
      recall_gpu(gpu, *gpus);
      recall_context(gpu, *gpus);
    }
  }
  if (const auto date = entry.find("measured"); date != entry.end() && date->is_string()) {
    profile.measured = date->get<std::string>();
  }
}

void remember(const Profile& profile, const fs::path& file) {
  if (file.empty()) {
    throw bad_input("there is no folder to remember measurements in", "Set XDG_CACHE_HOME or HOME.");
  }
  json document = read_remembered(file);
  json& entry = document[machine_key(profile)];
  if (!entry.is_object()) entry = json::object();
  entry["read_bandwidth"] = profile.ram.read_bandwidth;
  entry["int8_ops"] = profile.cpu.int8_ops;
  entry["float_ops"] = profile.cpu.float_ops;
  entry["matrix_ops"] = profile.cpu.matrix_ops;
  entry["measured"] = profile.measured;
  if (!entry.contains("disks") || !entry["disks"].is_object()) entry["disks"] = json::object();
  if (profile.disk.read_bandwidth > 0) entry["disks"][profile.disk.name] = profile.disk.read_bandwidth;
  if (!entry.contains("gpus") || !entry["gpus"].is_object()) entry["gpus"] = json::object();
  for (const Gpu& gpu : profile.gpus) {
    if (gpu.float_ops <= 0) continue;
    json& known = entry["gpus"][gpu_key(gpu)];
    known = {{"memory_bandwidth", gpu.memory_bandwidth},
             {"host_bandwidth", gpu.host_bandwidth},
             {"float_ops", gpu.float_ops},
             {"context_host_memory", gpu.context_host_memory.value}};
    if (gpu.context_measured) known["context_memory"] = gpu.context_memory.value;
  }

  std::error_code ignored;
  fs::create_directories(file.parent_path(), ignored);
  OutputFile out(file);
  out.write(document.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  out.finish();
}

}  // namespace loadline::hardware
