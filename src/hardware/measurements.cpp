#include "hardware/measurements.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "hardware/measure_cpu.h"

namespace loadline::hardware {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr Bytes kMostJson = 4 * kMiB;

// Machines differ where these do. RAM in whole GiB: kernels reserve a little more or less.
std::string machine_key(const Profile& profile) {
  return fmt::format("{}, {} cores, {} GiB", profile.cpu.model, profile.cpu.cores,
                     (profile.ram.total.value + kGiB.value / 2) / kGiB.value);
}

json read_all(const fs::path& file) {
  std::error_code ignored;
  if (file.empty() || !fs::is_regular_file(file, ignored)) return json::object();
  try {
    json document = json::parse(read_text_file(file, kMostJson));
    return document.is_object() ? document : json::object();
  } catch (const std::exception&) {
    return json::object();  // measuring again replaces it
  }
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

std::string today() { return fmt::format("{:%Y-%m-%d}", fmt::localtime(std::time(nullptr))); }

}  // namespace

void measure(Profile& profile, const fs::path& place, const MeasureProgress& progress) {
  const std::uint32_t cores = profile.cpu.cores;
  const double steps = cores + 4.0;
  // Far beyond the caches, and no more than a quarter of what is there.
  const Bytes size = std::min(kGiB, profile.ram.available / 4);
  std::vector<double> bandwidth;
  for (std::uint32_t threads = 1; threads <= cores; ++threads) {
    progress(fmt::format("RAM with {} thread{}", threads, threads == 1 ? "" : "s"), (threads - 1) / steps);
    bandwidth.push_back(measure_read_bandwidth(threads, size));
  }
  profile.ram.read_bandwidth = std::move(bandwidth);
  const std::string best = measurable_instruction_sets().back();
  progress("int8 dot products", cores / steps);
  profile.cpu.int8_ops = measure_int8_peak(best, cores);
  progress("float multiply-adds", (cores + 1) / steps);
  profile.cpu.float_ops = measure_float_peak(best, cores);
  progress("matrix unit", (cores + 2) / steps);
  profile.cpu.matrix_ops = measure_matrix_peak(cores);
  progress("disk", (cores + 3) / steps);
  if (const auto rate = measure_direct_read(place)) profile.disk.read_bandwidth = *rate;
  profile.measured = today();
  progress("done", 1.0);
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
  const json document = read_all(file);
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
  json document = read_all(file);
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

  // Written beside and renamed, so that another process never reads half of it.
  std::error_code problem;
  fs::create_directories(file.parent_path(), problem);
  const fs::path partial = file.string() + fmt::format(".{}.part", ::getpid());
  std::ofstream stream(partial);
  stream << document.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  stream.close();
  if (stream) fs::rename(partial, file, problem);
  if (!stream || problem) {
    std::error_code ignored;
    fs::remove(partial, ignored);
    throw bad_input(fmt::format("{}: cannot be written", file.string()));
  }
}

}  // namespace loadline::hardware
