#include "hardware/kernel_rates.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "base/output_file.h"
#include "hardware/measurements.h"

namespace loadline::hardware {
namespace {

using nlohmann::json;

constexpr std::size_t kMostFormats = 256;

std::string key_of(const Cpu& cpu) { return fmt::format("{}, {} cores", cpu.model, cpu.cores); }

bool read_rate(const json& object, const char* key, double& rate) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return false;
  rate = found->get<double>();
  return std::isfinite(rate) && rate > 0 && rate < 1e18;
}

std::optional<KernelRates> rates_from(const json& entry) {
  KernelRates rates;
  const auto products = entry.find("products");
  if (products == entry.end() || !products->is_array() || products->size() > kMostFormats ||
      !read_rate(entry, "read_bandwidth", rates.read_bandwidth) ||
      !read_rate(entry, "cache_bandwidth", rates.cache_bandwidth) ||
      !read_rate(entry, "attention_ops", rates.attention_ops) || !read_rate(entry, "loading", rates.loading)) {
    return std::nullopt;
  }
  for (const json& one : *products) {
    KernelRates::Product& product = rates.products.emplace_back();
    if (!one.is_object() || !one.contains("format") || !one["format"].is_string() ||
        !read_rate(one, "bandwidth", product.bandwidth) || !read_rate(one, "ops", product.ops)) {
      return std::nullopt;
    }
    product.format = one["format"].get<std::string>();
  }
  return rates;
}

}  // namespace

std::filesystem::path kernel_rates_path() {
  const std::filesystem::path beside = measurements_path();
  return beside.empty() ? beside : beside.parent_path() / "kernels.json";
}

std::optional<KernelRates> recall_kernels(const std::filesystem::path& file, const Cpu& cpu, const std::string& set) {
  const json document = read_remembered(file);
  const auto machine = document.find(key_of(cpu));
  if (machine == document.end() || !machine->is_object()) return std::nullopt;
  const auto entry = machine->find(set);
  if (entry == machine->end() || !entry->is_object()) return std::nullopt;
  return rates_from(*entry);
}

void remember_kernels(const std::filesystem::path& file, const Cpu& cpu, const std::string& set,
                      const KernelRates& rates) {
  if (file.empty()) {
    throw bad_input("there is no folder to remember measurements in", "Set XDG_CACHE_HOME or HOME.");
  }
  json document = read_remembered(file);
  json& machine = document[key_of(cpu)];
  if (!machine.is_object()) machine = json::object();
  json products = json::array();
  for (const KernelRates::Product& product : rates.products) {
    products.push_back({{"format", product.format}, {"bandwidth", product.bandwidth}, {"ops", product.ops}});
  }
  machine[set] = {{"products", std::move(products)},
                  {"read_bandwidth", rates.read_bandwidth},
                  {"cache_bandwidth", rates.cache_bandwidth},
                  {"attention_ops", rates.attention_ops},
                  {"loading", rates.loading}};
  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  OutputFile out(file);
  out.write(document.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  out.finish();
}

}  // namespace loadline::hardware
