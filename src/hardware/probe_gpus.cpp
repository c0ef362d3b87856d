#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <system_error>

#include "base/error.h"
#include "base/setting.h"
#include "base/text.h"
#include "hardware/cards.h"
#include "hardware/nvml.h"
#include "hardware/probe.h"
#include "hardware/shared_memory.h"
#include "hardware/unusable_gpus.h"
#include "hardware/vulkan_api.h"

namespace loadline::hardware {
namespace {

// Whether a kernel driver for a GPU is there. Only then are the drivers opened unasked: on a machine without one,
// Mesa's software device would cost time and memory for nothing.
bool has_gpu_node() {
  std::error_code ignored;
  for (const char* node : {"/dev/nvidia0", "/dev/dxg", "/dev/dri/renderD128"}) {
    if (std::filesystem::exists(node, ignored)) return true;
  }
  return false;
}

bool contains(std::string_view text, std::string_view part) {
  const auto same = [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); };
  return !std::ranges::search(text, part, same).empty();
}

// The data sheet's rates where the driver's name is one of the table's; of several sizes the nearest one's.
void add_rates(Gpu& gpu) {
  const std::vector<const Card*> cards = matching_cards(gpu.name.substr(0, gpu.name.find(" (")));
  if (cards.empty()) return;  // the planner says what it assumes
  const double memory = static_cast<double>(gpu.total.value) / static_cast<double>(kGiB.value);
  const Card& card =
      **std::ranges::min_element(cards, {}, [&](const Card* one) { return std::abs(one->memory_gib - memory); });
  gpu.memory_bandwidth = card.bandwidth * 1e9;
  gpu.half_ops = card.half_ops * 1e12;
  gpu.int8_ops = card.int8_ops * 1e12;
  gpu.host_bandwidth = card.link * 1e9;
}

Gpu describe(const VulkanDeviceInfo& device) {
  Gpu gpu;
  gpu.name = device.name;
  gpu.id = device.id;
  gpu.driver = "vulkan";
  gpu.software = device.software();
  gpu.total = device.memory;
  gpu.free = std::min(device.free.value_or(device.memory), device.memory);
  // A software device's memory is RAM, and its context hardly anything of its own.
  gpu.context_host_memory = kAssumedContextHostMemory;
  if (gpu.software) return gpu;
  gpu.context_memory = kAssumedContextMemory;
  if (const auto free = nvml_free_memory(device)) gpu.free = std::min(gpu.free, *free);
  add_rates(gpu);
  return gpu;
}

const VulkanDeviceInfo& find(const std::vector<VulkanDeviceInfo>& devices, const std::string& name) {
  const auto found = std::ranges::find_if(devices, [&](const VulkanDeviceInfo& device) {
    return device.id == name || (!name.empty() && contains(device.name, name));
  });
  if (found == devices.end()) {
    std::vector<std::string> names;
    for (const VulkanDeviceInfo& device : devices) names.push_back(fmt::format("{} ({})", device.id, device.name));
    throw bad_input(fmt::format("there is no GPU \"{}\"", printable(name)),
                    names.empty() ? "This machine has none." : fmt::format("There is: {}.", fmt::join(names, ", ")),
                    Setting::Devices);
  }
  if (!found->missing.empty()) {
    throw Error(ErrorCode::DeviceFailure, fmt::format("the GPU {} cannot be used: its driver lacks {}", found->name,
                                                      fmt::join(found->missing, ", ")));
  }
  return *found;
}

std::vector<VulkanDeviceInfo> find_devices(const std::vector<std::string>& named) {
  if (named.empty() && !has_gpu_node()) return {};
  if (named.size() == 1 && named[0] == "none") return {};
  std::string why;
  const auto instance = VulkanInstance::open(why);
  if (!instance) {
    if (named.empty()) return {};
    throw bad_input(fmt::format("a GPU is asked for, but {}", why), "", Setting::Devices);
  }
  const std::vector<VulkanDeviceInfo> devices = list_vulkan_devices(*instance);
  std::vector<VulkanDeviceInfo> wanted;
  for (const std::string& name : named) wanted.push_back(find(devices, name));
  if (!named.empty()) return wanted;
  for (const VulkanDeviceInfo& device : devices) {
    if (!device.software() && device.missing.empty()) wanted.push_back(device);
  }
  return wanted;
}

}  // namespace

std::vector<Gpu> probe_gpus(const std::vector<std::string>& named) {
  std::vector<Gpu> gpus;
  for (const VulkanDeviceInfo& device : find_devices(named)) gpus.push_back(describe(device));
  return gpus;
}

std::vector<Gpu> probe_gpus_beside(Ram& ram, const std::vector<std::string>& named) {
  std::vector<Gpu> gpus;
  std::vector<bool> shares;
  for (const VulkanDeviceInfo& device : find_devices(named)) {
    gpus.push_back(describe(device));
    shares.push_back(device.kind == VulkanDeviceKind::Integrated);
  }
  divide_shared_memory(ram, gpus, shares);
  return gpus;
}

void divide_shared_memory(Ram& ram, std::vector<Gpu>& gpus, const std::vector<bool>& shares) {
  const auto count = static_cast<std::uint64_t>(std::ranges::count(shares, true));
  if (count == 0) return;
  const Bytes each = ram.available / 2 / count;
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    if (!shares[i]) continue;
    gpus[i].free = std::min(gpus[i].free, each);
    ram.available -= gpus[i].free;
  }
}

std::vector<Gpu> list_gpus() {
  std::string why;
  const auto instance = VulkanInstance::open(why);
  if (!instance) return {};
  std::vector<Gpu> gpus;
  for (const VulkanDeviceInfo& device : list_vulkan_devices(*instance)) {
    if (device.missing.empty()) gpus.push_back(describe(device));
  }
  return gpus;
}

std::vector<UnusableGpu> list_unusable_gpus() {
  std::string why;
  const auto instance = VulkanInstance::open(why);
  if (!instance) return {};
  std::vector<UnusableGpu> gpus;
  for (const VulkanDeviceInfo& device : list_vulkan_devices(*instance)) {
    if (!device.missing.empty()) gpus.push_back({device.name, device.missing});
  }
  return gpus;
}

}  // namespace loadline::hardware
