#include "backend/vulkan/context.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/setting.h"
#include "hardware/nvml.h"

namespace loadline::vulkan {
namespace {

Error failure(const std::string& sentence, std::string hint = {}) {
  return {ErrorCode::DeviceFailure, sentence, std::move(hint)};
}

bool wants_validation(const DeviceOptions& options) {
  const char* variable = std::getenv("LOADLINE_VULKAN_VALIDATION");
  return options.validate || (variable != nullptr && std::string_view(variable) != "0" && *variable != '\0');
}

bool wants_matrix_units(const DeviceOptions& options) {
  const char* variable = std::getenv("LOADLINE_VULKAN_MATRIX_UNITS");
  return options.matrix_units && (variable == nullptr || std::string_view(variable) != "0");
}

// Where the device has products of bytes.
bool wants_integer_dots(const DeviceOptions& options, bool accelerated) {
  if (options.integer_dots) return *options.integer_dots;
  const char* variable = std::getenv("LOADLINE_VULKAN_INTEGER_DOTS");
  if (variable == nullptr || *variable == '\0') return accelerated;
  return std::string_view(variable) != "0";
}

bool contains(std::string_view text, std::string_view part) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  return std::ranges::search(text, part, same).begin() != text.end();
}

}  // namespace

Context::Context(const DeviceOptions& options) : options_(options) {
  hardware::VulkanInstance::MessageSink sink;
  if (wants_validation(options)) {
    sink = [this](const std::string& message) {
      const std::lock_guard lock(messages_lock_);
      messages_.push_back(message);
      if (options_.on_message) options_.on_message(message);
    };
  }
  std::string why;
  instance_ = hardware::VulkanInstance::open(why, std::move(sink));
  if (!instance_) throw failure(fmt::format("no GPU can be used: {}", why));
  if (options.on_instance) options.on_instance(*instance_);
  choose();
  free_before_ = free_memory();
  query();
  create_device();
  resolve();
}

Context::~Context() {
  if (device_ != VK_NULL_HANDLE) vkDestroyDevice(device_, nullptr);
}

void Context::choose() {
  const std::vector<hardware::VulkanDeviceInfo> devices = hardware::list_vulkan_devices(*instance_);
  std::vector<std::string> names;
  for (const hardware::VulkanDeviceInfo& device : devices)
    names.push_back(fmt::format("{} ({})", device.id, device.name));
  const auto found = std::ranges::find_if(devices, [&](const hardware::VulkanDeviceInfo& device) {
    return device.id == options_.device || (!options_.device.empty() && contains(device.name, options_.device));
  });
  if (found == devices.end()) {
    throw failure(fmt::format("there is no GPU \"{}\" any more", options_.device),
                  names.empty() ? "There is none at all." : fmt::format("There is: {}.", fmt::join(names, ", ")));
  }
  info_ = *found;
  if (!info_.missing.empty()) {
    throw failure(
        fmt::format("the GPU {} cannot be used: its driver lacks {}", info_.name, fmt::join(info_.missing, ", ")),
        "A newer driver may have it.");
  }
}

void Context::query() {
  VkPhysicalDeviceMemoryProperties2 memory{};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  instance_->vkGetPhysicalDeviceMemoryProperties2(info_.handle, &memory);
  memory_ = memory.memoryProperties;

  VkPhysicalDeviceVulkan13Properties three{};
  three.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES;
  VkPhysicalDeviceVulkan11Properties one{};
  one.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  VkPhysicalDeviceProperties2 properties{};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  properties.pNext = &one;
  instance_->vkGetPhysicalDeviceProperties2(info_.handle, &properties);
  vulkan13_ = properties.properties.apiVersion >= VK_API_VERSION_1_3;
  if (vulkan13_) {
    one.pNext = &three;
    instance_->vkGetPhysicalDeviceProperties2(info_.handle, &properties);
  }
  std::uint64_t largest = one.maxMemoryAllocationSize;
  if (vulkan13_) largest = std::min(largest, three.maxBufferSize);
  if (options_.largest_allocation != 0) largest = std::min(largest, options_.largest_allocation);
  limits_.largest_allocation = Bytes(largest);
  limits_.lanes = one.subgroupSize;
  limits_.shared_memory = properties.properties.limits.maxComputeSharedMemorySize;
  limits_.most_workgroups = std::min({properties.properties.limits.maxComputeWorkGroupCount[0],
                                      properties.properties.limits.maxComputeWorkGroupCount[1], 1U << 30});
  limits_.software = info_.software();
  const bool can_require = vulkan13_ && (three.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
  limits_.fixed_lanes = can_require;
  const bool accelerated = vulkan13_ && three.integerDotProduct4x8BitPackedSignedAccelerated != VK_FALSE;
  integer_dots_ = vulkan13_ && wants_integer_dots(options_, accelerated);
  cache_name_ = "vulkan-";
  for (const std::uint8_t byte : properties.properties.pipelineCacheUUID) cache_name_ += fmt::format("{:02x}", byte);
}

std::string Context::cache_name() const { return cache_name_; }

// Where the device has them, and what matmul_units.glsl needs besides: all lanes of a subgroup at work, and room for
// its tiles.
void Context::find_matrix_units(const VkPhysicalDeviceVulkan12Features& features) {
  constexpr std::uint32_t kSharedBytes = 2 * 64 * 40 * 2 + 64 * 64 * 4 + 64 * 4;
  if (options_.emulated_units) {
    if (features.shaderFloat16 != VK_FALSE) matrix_units_ = options_.emulated_units;
    return;
  }
  if (!wants_matrix_units(options_) || !limits_.fixed_lanes || limits_.shared_memory < kSharedBytes) return;
  matrix_units_ = find_matrix_shape(*instance_, info_.handle);
}

void Context::create_device() {
  std::uint32_t count = 0;
  instance_->vkGetPhysicalDeviceQueueFamilyProperties(info_.handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  instance_->vkGetPhysicalDeviceQueueFamilyProperties(info_.handle, &count, families.data());
  const auto computes = [](const VkQueueFamilyProperties& f) { return (f.queueFlags & VK_QUEUE_COMPUTE_BIT) != 0; };
  const auto family = std::ranges::find_if(families, computes);
  if (family == families.end()) throw failure(fmt::format("the GPU {} has no queue for computing", info_.name));
  queue_family_ = static_cast<std::uint32_t>(family - families.begin());

  VkPhysicalDeviceVulkan13Features three{};
  three.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
  VkPhysicalDeviceVulkan12Features two{};
  two.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  two.pNext = vulkan13_ ? &three : nullptr;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &two;
  instance_->vkGetPhysicalDeviceFeatures2(info_.handle, &features);
  limits_.fixed_lanes = limits_.fixed_lanes && three.subgroupSizeControl != 0 && three.computeFullSubgroups != 0;
  integer_dots_ = integer_dots_ && three.shaderIntegerDotProduct != VK_FALSE;
  find_matrix_units(two);
  const bool real_units = matrix_units_ && !options_.emulated_units;
  VkPhysicalDeviceVulkan13Features enable13{};
  enable13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
  enable13.subgroupSizeControl = limits_.fixed_lanes ? VK_TRUE : VK_FALSE;
  enable13.computeFullSubgroups = enable13.subgroupSizeControl;
  enable13.maintenance4 = three.maintenance4;
  enable13.shaderIntegerDotProduct = integer_dots_ ? VK_TRUE : VK_FALSE;
  MatrixFeatures matrices;
  matrices.next = vulkan13_ ? &enable13 : nullptr;
  matrices.matrices = VK_TRUE;
  VkPhysicalDeviceVulkan12Features enable12{};
  enable12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  enable12.pNext = real_units ? &matrices : matrices.next;
  enable12.shaderFloat16 = matrix_units_ ? VK_TRUE : VK_FALSE;
  enable12.vulkanMemoryModel = real_units ? VK_TRUE : VK_FALSE;
  enable12.bufferDeviceAddress = VK_TRUE;
  enable12.timelineSemaphore = VK_TRUE;
  enable12.storageBuffer8BitAccess = VK_TRUE;
  VkPhysicalDeviceVulkan11Features enable11{};
  enable11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  enable11.pNext = &enable12;
  enable11.storageBuffer16BitAccess = VK_TRUE;
  VkPhysicalDeviceFeatures2 enable{};
  enable.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  enable.pNext = &enable11;
  enable.features.shaderInt64 = VK_TRUE;

  const float priority = 1.0F;
  VkDeviceQueueCreateInfo queue{};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = queue_family_;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  VkDeviceCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  create.pNext = &enable;
  create.queueCreateInfoCount = 1;
  create.pQueueCreateInfos = &queue;
  create.enabledExtensionCount = real_units ? 1 : 0;
  create.ppEnabledExtensionNames = &kMatrixExtension;
  VkResult result = fault(Call::CreateDevice);
  if (result == VK_SUCCESS) result = instance_->vkCreateDevice(info_.handle, &create, nullptr, &device_);
  if (result != VK_SUCCESS) device_ = VK_NULL_HANDLE;
  check(result, "being opened");
}

void Context::resolve() {
#define LOADLINE_RESOLVE(name) name = reinterpret_cast<PFN_##name>(instance_->vkGetDeviceProcAddr(device_, #name));
  LOADLINE_VULKAN_DEVICE(LOADLINE_RESOLVE)
#undef LOADLINE_RESOLVE
  vkGetDeviceQueue(device_, queue_family_, 0, &queue_);
}

void Context::check(VkResult result, const std::string& doing) const {
  switch (result) {
    case VK_SUCCESS: return;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      throw SettingError(
          ErrorCode::DeviceFailure, fmt::format("the GPU {} ran out of memory while {}", info_.name, doing),
          "Another program may have taken some; free it there, or give less GPU memory.", Setting::GpuBudget);
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      throw failure(fmt::format("the driver of the GPU {} ran out of system memory while {}", info_.name, doing));
    case VK_ERROR_DEVICE_LOST:
      throw failure(fmt::format("the GPU {} was lost while {}", info_.name, doing),
                    "Its driver reset it or it was removed; start again, and see the system's log for the cause.");
    default:
      throw failure(
          fmt::format("the GPU {} failed while {} ({})", info_.name, doing, hardware::vulkan_result_name(result)));
  }
}

void Context::check_messages() {
  const std::lock_guard lock(messages_lock_);
  if (messages_.empty()) return;
  const std::string first = messages_.front();
  messages_.clear();
  throw failure(fmt::format("the Vulkan validation layer says: {}", first));
}

void Context::submit(const VkSubmitInfo& info, const char* doing) {
  VkResult result = fault(Call::Submit);
  if (result == VK_SUCCESS) {
    const std::lock_guard lock(queue_lock_);
    result = vkQueueSubmit(queue_, 1, &info, VK_NULL_HANDLE);
  }
  check(result, doing);
}

std::optional<Bytes> Context::free_memory() const {
  if (options_.free_memory) return options_.free_memory();
  const std::optional<Bytes> budget = hardware::free_device_memory(*instance_, info_.handle);
  const std::optional<Bytes> free = info_.software() ? std::nullopt : hardware::nvml_free_memory(info_);
  return budget && free ? std::min(*budget, *free) : budget ? budget : free;
}

std::optional<hardware::HeapUse> Context::heap_use() const {
  return hardware::device_heap_use(*instance_, info_.handle);
}

std::optional<Bytes> Context::taken() const {
  const std::optional<Bytes> now = free_memory();
  if (!now || !free_before_) return std::nullopt;
  return *free_before_ - std::min(*free_before_, *now);
}

}  // namespace loadline::vulkan
