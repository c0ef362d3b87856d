// The Vulkan loader, opened at run time, and what its devices say of themselves. Shared by the hardware probe, which
// only asks, and the Vulkan backend, which computes. Nothing here allocates device memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "base/bytes.h"

namespace loadline::hardware {

// The entry points we use. Global ones need no instance, device ones are resolved for the device that is in use.
#define LOADLINE_VULKAN_GLOBAL(X) \
  X(vkCreateInstance)             \
  X(vkEnumerateInstanceVersion)   \
  X(vkEnumerateInstanceLayerProperties)
#define LOADLINE_VULKAN_INSTANCE(X)           \
  X(vkDestroyInstance)                        \
  X(vkEnumeratePhysicalDevices)               \
  X(vkEnumerateDeviceExtensionProperties)     \
  X(vkGetPhysicalDeviceProperties2)           \
  X(vkGetPhysicalDeviceFeatures2)             \
  X(vkGetPhysicalDeviceMemoryProperties2)     \
  X(vkGetPhysicalDeviceQueueFamilyProperties) \
  X(vkCreateDevice)                           \
  X(vkGetDeviceProcAddr)
#define LOADLINE_VULKAN_DEVICE(X)  \
  X(vkDestroyDevice)               \
  X(vkGetDeviceQueue)              \
  X(vkAllocateMemory)              \
  X(vkFreeMemory)                  \
  X(vkMapMemory)                   \
  X(vkCreateBuffer)                \
  X(vkDestroyBuffer)               \
  X(vkGetBufferMemoryRequirements) \
  X(vkBindBufferMemory)            \
  X(vkGetBufferDeviceAddress)      \
  X(vkCreateShaderModule)          \
  X(vkDestroyShaderModule)         \
  X(vkCreatePipelineLayout)        \
  X(vkDestroyPipelineLayout)       \
  X(vkCreatePipelineCache)         \
  X(vkDestroyPipelineCache)        \
  X(vkGetPipelineCacheData)        \
  X(vkCreateComputePipelines)      \
  X(vkDestroyPipeline)             \
  X(vkCreateCommandPool)           \
  X(vkDestroyCommandPool)          \
  X(vkAllocateCommandBuffers)      \
  X(vkBeginCommandBuffer)          \
  X(vkEndCommandBuffer)            \
  X(vkCmdBindPipeline)             \
  X(vkCmdPushConstants)            \
  X(vkCmdDispatch)                 \
  X(vkCmdPipelineBarrier)          \
  X(vkCmdCopyBuffer)               \
  X(vkCmdFillBuffer)               \
  X(vkCreateSemaphore)             \
  X(vkDestroySemaphore)            \
  X(vkGetSemaphoreCounterValue)    \
  X(vkWaitSemaphores)              \
  X(vkQueueSubmit)                 \
  X(vkDeviceWaitIdle)

// The loader (libvulkan.so.1, or the one that LOADLINE_VULKAN_LIBRARY names) and an instance of Vulkan 1.2 or later.
// Thread-safe for asking; lives as long as anything made from it.
class VulkanInstance {
 public:
  // Called with every warning or error of the validation layer, from any thread.
  using MessageSink = std::function<void(const std::string&)>;

  // Null where there is no loader, or no driver that could make an instance: `why` is then one clause. With a `sink`,
  // the validation layer is enabled; throws Error(DeviceFailure) where it is not installed.
  static std::shared_ptr<VulkanInstance> open(std::string& why, MessageSink sink = {});
  ~VulkanInstance();
  VulkanInstance(const VulkanInstance&) = delete;
  VulkanInstance& operator=(const VulkanInstance&) = delete;

  [[nodiscard]] VkInstance handle() const { return instance_; }
  [[nodiscard]] std::vector<VkPhysicalDevice> physical_devices() const;
  [[nodiscard]] bool has_extension(VkPhysicalDevice device, const char* name) const;
  // An entry point that is not in the lists above; null where there is none.
  [[nodiscard]] PFN_vkVoidFunction find(const char* name) const { return get_(instance_, name); }

// NOLINTBEGIN(readability-identifier-naming): the names are Vulkan's.
#define LOADLINE_DECLARE(name) PFN_##name name = nullptr;
  LOADLINE_VULKAN_GLOBAL(LOADLINE_DECLARE)
  LOADLINE_VULKAN_INSTANCE(LOADLINE_DECLARE)
#undef LOADLINE_DECLARE
  // NOLINTEND(readability-identifier-naming)

 private:
  VulkanInstance() = default;
  bool load(std::string& why);
  void create(std::string& why);

  void* library_ = nullptr;
  PFN_vkGetInstanceProcAddr get_ = nullptr;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  MessageSink sink_;
};

enum class VulkanDeviceKind : std::uint8_t { Discrete, Integrated, Virtual, Software };

// One physical device.
struct VulkanDeviceInfo {
  std::string id;      // "vulkan0": its place in this list; what -dev takes besides the name
  std::string name;    // as the driver says it
  std::string driver;  // "llvmpipe Mesa 22.3.6"
  VulkanDeviceKind kind = VulkanDeviceKind::Discrete;
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  Bytes memory;               // of the largest device-local heap
  std::optional<Bytes> free;  // of it, other processes considered, where the driver can tell (VK_EXT_memory_budget)
  std::uint32_t pci_domain = 0, pci_bus = 0, pci_device = 0;  // where has_pci: to find it in NVML or sysfs
  bool has_pci = false;
  std::vector<std::string> missing;  // what the backend needs and this device lacks; empty for one that can be used

  [[nodiscard]] bool software() const { return kind == VulkanDeviceKind::Software; }
};

// All of them: discrete before integrated before software, each kind in the driver's order.
std::vector<VulkanDeviceInfo> list_vulkan_devices(const VulkanInstance& instance);

// Of the largest device-local heap: what this process may have of it in all, and what it has. nullopt where the driver
// cannot tell.
struct HeapUse {
  Bytes budget;
  Bytes used;
};
std::optional<HeapUse> device_heap_use(const VulkanInstance& instance, VkPhysicalDevice device);

// What is free of the largest device-local heap now; nullopt where the driver cannot tell.
std::optional<Bytes> free_device_memory(const VulkanInstance& instance, VkPhysicalDevice device);

// "VK_ERROR_DEVICE_LOST" for the results that can reach a user; the number for others.
std::string vulkan_result_name(VkResult result);

}  // namespace loadline::hardware
