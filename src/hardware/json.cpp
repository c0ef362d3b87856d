#include "hardware/json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>

#include "base/error.h"
#include "base/json_text.h"

namespace loadline::hardware {
namespace {

using nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

// Reads the members of one object into the fields they belong to, and names the member in every complaint.
class Reader {
 public:
  Reader(const json& object, std::string path, std::string_view source)
      : object_(object), path_(std::move(path)), source_(source) {
    if (!object.is_object()) fail(path_, "must be an object");
  }

  void read(const char* key, std::string& value) const {
    if (const json* found = find(key)) {
      if (!found->is_string()) fail(full(key), "must be a text");
      value = found->get<std::string>();
    }
  }
  void read(const char* key, bool& value) const {
    if (const json* found = find(key)) {
      if (!found->is_boolean()) fail(full(key), "must be true or false");
      value = found->get<bool>();
    }
  }
  void read(const char* key, double& value) const {
    if (const json* found = find(key)) value = rate(*found, full(key));
  }
  void read(const char* key, Bytes& value) const {
    if (const json* found = find(key)) value = bytes(*found, full(key));
  }
  void read(const char* key, std::optional<Bytes>& value) const {
    if (const json* found = find(key)) value = bytes(*found, full(key));
  }
  void read(const char* key, std::uint32_t& value) const {
    if (const json* found = find(key)) {
      if (!found->is_number_unsigned() || found->get<std::uint64_t>() > 4096)
        fail(full(key), "must be a number up to 4096");
      value = found->get<std::uint32_t>();
    }
  }
  void read(const char* key, std::vector<double>& value) const {
    if (const json* found = find(key)) {
      if (!found->is_array()) fail(full(key), "must be a list of numbers");
      value.clear();
      for (const json& item : *found) value.push_back(rate(item, full(key)));
    }
  }
  void read(const char* key, std::vector<std::string>& value) const {
    if (const json* found = find(key)) {
      if (!found->is_array()) fail(full(key), "must be a list of texts");
      value.clear();
      for (const json& item : *found) {
        if (!item.is_string()) fail(full(key), "must be a list of texts");
        value.push_back(item.get<std::string>());
      }
    }
  }

  [[nodiscard]] const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  [[nodiscard]] std::string full(const char* key) const { return path_.empty() ? key : path_ + "." + key; }
  [[noreturn]] void fail(const std::string& member, const char* what) const {
    throw bad_input(fmt::format("{}: {} {}", source_, member.empty() ? "the whole" : member, what));
  }

 private:
  double rate(const json& value, const std::string& member) const {
    const double number = value.is_number() ? value.get<double>() : -1.0;
    if (!(number >= 0) || !std::isfinite(number)) fail(member, "must be a number that is not negative");
    return number;
  }
  Bytes bytes(const json& value, const std::string& member) const {
    constexpr std::uint64_t kMost = std::uint64_t{1} << 56;
    if (value.is_string()) return parse_bytes(value.get<std::string>(), fmt::format("{}: {}", source_, member));
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > kMost) {
      fail(member, "must be a number of bytes, or a text such as \"16GiB\"");
    }
    return Bytes(value.get<std::uint64_t>());
  }

  const json& object_;
  std::string path_;
  std::string_view source_;
};

void read_cpu(const Reader& reader, Cpu& cpu) {
  reader.read("model", cpu.model);
  reader.read("cores", cpu.cores);
  reader.read("instruction_sets", cpu.instruction_sets);
  reader.read("l2", cpu.l2);
  reader.read("l3", cpu.l3);
  reader.read("numa_nodes", cpu.numa_nodes);
  reader.read("int8_ops", cpu.int8_ops);
  reader.read("float_ops", cpu.float_ops);
  reader.read("matrix_ops", cpu.matrix_ops);
}

void read_ram(const Reader& reader, Ram& ram) {
  reader.read("total", ram.total);
  ram.available = ram.total;
  reader.read("available", ram.available);
  reader.read("cgroup_limit", ram.cgroup_limit);
  reader.read("swap_total", ram.swap_total);
  reader.read("swap_used", ram.swap_used);
  reader.read("read_bandwidth", ram.read_bandwidth);
  if (ram.available > ram.total) reader.fail(reader.full("available"), "is more than ram.total");
}

void read_gpu(const Reader& reader, Gpu& gpu) {
  reader.read("name", gpu.name);
  reader.read("id", gpu.id);
  reader.read("driver", gpu.driver);
  reader.read("software", gpu.software);
  reader.read("total", gpu.total);
  gpu.free = gpu.total;
  reader.read("free", gpu.free);
  reader.read("memory_bandwidth", gpu.memory_bandwidth);
  reader.read("int8_ops", gpu.int8_ops);
  reader.read("half_ops", gpu.half_ops);
  reader.read("host_bandwidth", gpu.host_bandwidth);
  reader.read("float_ops", gpu.float_ops);
  reader.read("context_memory", gpu.context_memory);
  reader.read("context_host_memory", gpu.context_host_memory);
  reader.read("context_measured", gpu.context_measured);
  if (gpu.free > gpu.total) reader.fail(reader.full("free"), "is more than the card's total");
}

}  // namespace

std::string to_json(const Profile& profile) {
  OrderedJson document;
  const Cpu& cpu = profile.cpu;
  document["cpu"] = {
      {"model", cpu.model},       {"cores", cpu.cores},         {"instruction_sets", cpu.instruction_sets},
      {"l2", cpu.l2.value},       {"l3", cpu.l3.value},         {"numa_nodes", cpu.numa_nodes},
      {"int8_ops", cpu.int8_ops}, {"float_ops", cpu.float_ops}, {"matrix_ops", cpu.matrix_ops}};
  const Ram& ram = profile.ram;
  document["ram"] = {{"total", ram.total.value},
                     {"available", ram.available.value},
                     {"cgroup_limit", ram.cgroup_limit ? OrderedJson(ram.cgroup_limit->value) : OrderedJson(nullptr)},
                     {"swap_total", ram.swap_total.value},
                     {"swap_used", ram.swap_used.value},
                     {"read_bandwidth", ram.read_bandwidth}};
  document["gpus"] = OrderedJson::array();
  for (const Gpu& gpu : profile.gpus) {
    document["gpus"].push_back({{"name", gpu.name},
                                {"id", gpu.id},
                                {"driver", gpu.driver},
                                {"software", gpu.software},
                                {"total", gpu.total.value},
                                {"free", gpu.free.value},
                                {"memory_bandwidth", gpu.memory_bandwidth},
                                {"int8_ops", gpu.int8_ops},
                                {"half_ops", gpu.half_ops},
                                {"host_bandwidth", gpu.host_bandwidth},
                                {"float_ops", gpu.float_ops},
                                {"context_memory", gpu.context_memory.value},
                                {"context_host_memory", gpu.context_host_memory.value},
                                {"context_measured", gpu.context_measured}});
  }
  document["disk"] = {{"name", profile.disk.name}, {"read_bandwidth", profile.disk.read_bandwidth}};
  document["measured"] = profile.measured;
  return document.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

Profile profile_from_json(std::string_view text, std::string_view source) {
  const json document = parse_json<json>(text, source);
  Profile profile;
  const Reader reader(document, "", source);
  if (const json* cpu = reader.find("cpu")) read_cpu(Reader(*cpu, "cpu", source), profile.cpu);
  const json* ram = reader.find("ram");
  if (ram == nullptr) throw bad_input(fmt::format("{}: ram is missing", source));
  read_ram(Reader(*ram, "ram", source), profile.ram);
  if (profile.ram.total.value == 0) reader.fail("ram.total", "is missing");
  if (const json* gpus = reader.find("gpus")) {
    if (!gpus->is_array() || gpus->size() > 64) reader.fail("gpus", "must be a list of at most 64");
    for (std::size_t i = 0; i < gpus->size(); ++i) {
      read_gpu(Reader((*gpus)[i], fmt::format("gpus[{}]", i), source), profile.gpus.emplace_back());
    }
  }
  if (const json* disk = reader.find("disk")) {
    const Reader members(*disk, "disk", source);
    members.read("name", profile.disk.name);
    members.read("read_bandwidth", profile.disk.read_bandwidth);
  }
  reader.read("measured", profile.measured);
  if (profile.cpu.cores == 0) profile.cpu.cores = 1;
  return profile;
}

}  // namespace loadline::hardware
