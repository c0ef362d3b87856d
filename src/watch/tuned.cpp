#include "watch/tuned.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>

#include "base/error.h"
#include "base/json_text.h"
#include "base/output_file.h"
#include "hardware/measurements.h"

namespace loadline::watch {
namespace {

using nlohmann::json;

// The same processor with other cards is another machine.
std::string key_of(const hardware::Profile& machine, const std::string& model) {
  std::string key = fmt::format("{} x{}", machine.cpu.model, machine.cpu.cores);
  for (const hardware::Gpu& gpu : machine.gpus) key += ", " + gpu.name;
  return key + ": " + model;
}

std::optional<std::uint32_t> count_of(const json& object, const char* key, std::uint32_t least) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  const auto value = found->get<std::uint64_t>();
  constexpr std::uint64_t kMost = 1U << 20U;
  return value >= least && value <= kMost ? std::optional(static_cast<std::uint32_t>(value)) : std::nullopt;
}

double rate_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return 0;
  const double rate = found->get<double>();
  return std::isfinite(rate) && rate > 0 ? rate : 0;
}

}  // namespace

std::filesystem::path tuned_path() {
  const std::filesystem::path beside = hardware::measurements_path();
  return beside.empty() ? beside : beside.parent_path() / "tuned.json";
}

std::optional<Tuned> recall_tuned(const std::filesystem::path& file, const hardware::Profile& machine,
                                  const std::string& model) {
  const json document = read_remembered(file);
  const auto entry = document.find(key_of(machine, model));
  if (entry == document.end() || !entry->is_object()) return std::nullopt;
  const auto threads = count_of(*entry, "threads", 1);
  const auto batch = count_of(*entry, "batch", 1);
  if (!threads || !batch) return std::nullopt;
  Tuned tuned;
  tuned.setting = {count_of(*entry, "gpu_layers", 0), *threads, *batch};
  tuned.measured = {rate_of(*entry, "generation"), rate_of(*entry, "prompt")};
  const auto date = entry->find("date");
  if (date != entry->end() && date->is_string()) tuned.date = date->get<std::string>();
  return tuned;
}

void remember_tuned(const std::filesystem::path& file, const hardware::Profile& machine, const std::string& model,
                    const Tuned& tuned) {
  if (file.empty()) {
    throw bad_input("there is no folder to remember what was found in", "Set XDG_CACHE_HOME or HOME.");
  }
  json document = read_remembered(file);
  json entry = {{"threads", tuned.setting.threads},
                {"batch", tuned.setting.batch},
                {"generation", tuned.measured.generation},
                {"prompt", tuned.measured.prompt},
                {"date", tuned.date}};
  if (tuned.setting.gpu_layers) entry["gpu_layers"] = *tuned.setting.gpu_layers;
  document[key_of(machine, model)] = std::move(entry);
  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  OutputFile out(file);
  out.write(document.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  out.finish();
}

}  // namespace loadline::watch
