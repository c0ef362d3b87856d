#include "hardware/vulkan_api.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace loadline::hardware {
namespace {

constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";
// Names a Vulkan loader that is not installed, for programs that are carried to a machine.
constexpr const char* kLibraryVariable = "LOADLINE_VULKAN_LIBRARY";

VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                                          const VkDebugUtilsMessengerCallbackDataEXT* data, void* user) {
  (*static_cast<VulkanInstance::MessageSink*>(user))(data->pMessage);
  return VK_FALSE;
}

VulkanDeviceKind kind_of(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return VulkanDeviceKind::Discrete;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return VulkanDeviceKind::Integrated;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return VulkanDeviceKind::Software;
    default: return VulkanDeviceKind::Virtual;
  }
}

// The largest device-local heap, by index; -1 where there is none.
int largest_heap(const VkPhysicalDeviceMemoryProperties& memory) {
  int best = -1;
  for (std::uint32_t i = 0; i < memory.memoryHeapCount; ++i) {
    if ((memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) == 0) continue;
    if (best < 0 || memory.memoryHeaps[i].size > memory.memoryHeaps[static_cast<std::uint32_t>(best)].size) {
      best = static_cast<int>(i);
    }
  }
  return best;
}

std::vector<std::string> missing_features(const VulkanInstance& instance, VkPhysicalDevice device,
                                          const VkPhysicalDeviceProperties& properties,
                                          const VkPhysicalDeviceVulkan11Properties& vulkan11) {
  std::vector<std::string> missing;
  if (properties.apiVersion < VK_API_VERSION_1_2) return {"Vulkan 1.2"};
  VkPhysicalDeviceVulkan12Features two{};
  two.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  VkPhysicalDeviceVulkan11Features one{};
  one.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  one.pNext = &two;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &one;
  instance.vkGetPhysicalDeviceFeatures2(device, &features);
  const auto need = [&](VkBool32 there, const char* name) {
    if (there == VK_FALSE) missing.emplace_back(name);
  };
  need(two.bufferDeviceAddress, "bufferDeviceAddress");
  need(two.timelineSemaphore, "timelineSemaphore");
  need(two.storageBuffer8BitAccess, "storageBuffer8BitAccess");
  need(one.storageBuffer16BitAccess, "storageBuffer16BitAccess");
  need(features.features.shaderInt64, "shaderInt64");
  const bool subgroups = (vulkan11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0 &&
                         (vulkan11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT) != 0;
  need(subgroups ? VK_TRUE : VK_FALSE, "subgroup arithmetic in compute shaders");
  // norm.comp and matmul.comp.
  constexpr std::uint32_t kInvocations = 256;
  const bool large = properties.limits.maxComputeWorkGroupInvocations >= kInvocations &&
                     properties.limits.maxComputeWorkGroupSize[0] >= kInvocations;
  if (!large) missing.push_back(fmt::format("workgroups of {} invocations", kInvocations));
  return missing;
}

VulkanDeviceInfo describe(const VulkanInstance& instance, VkPhysicalDevice device) {
  VkPhysicalDevicePCIBusInfoPropertiesEXT pci{};
  pci.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT;
  VkPhysicalDeviceVulkan12Properties two{};
  two.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
  VkPhysicalDeviceVulkan11Properties one{};
  one.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  one.pNext = &two;
  VkPhysicalDeviceProperties2 properties{};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;

  VulkanDeviceInfo info;
  info.handle = device;
  info.has_pci = instance.has_extension(device, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME);
  if (info.has_pci) two.pNext = &pci;
  properties.pNext = &one;
  instance.vkGetPhysicalDeviceProperties2(device, &properties);
  info.name = properties.properties.deviceName;
  info.driver = fmt::format("{} {}", two.driverName, two.driverInfo);
  info.kind = kind_of(properties.properties.deviceType);
  info.pci_domain = pci.pciDomain;
  info.pci_bus = pci.pciBus;
  info.pci_device = pci.pciDevice;
  info.missing = missing_features(instance, device, properties.properties, one);

  VkPhysicalDeviceMemoryProperties2 memory{};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  instance.vkGetPhysicalDeviceMemoryProperties2(device, &memory);
  if (const int heap = largest_heap(memory.memoryProperties); heap >= 0) {
    info.memory = Bytes(memory.memoryProperties.memoryHeaps[static_cast<std::size_t>(heap)].size);
  } else {
    info.missing.emplace_back("device-local memory");
  }
  info.free = free_device_memory(instance, device);
  return info;
}

}  // namespace

std::shared_ptr<VulkanInstance> VulkanInstance::open(std::string& why, MessageSink sink) {
  std::shared_ptr<VulkanInstance> instance(new VulkanInstance());
  instance->sink_ = std::move(sink);
  if (!instance->load(why)) return nullptr;
  instance->create(why);
  return instance->instance_ == VK_NULL_HANDLE ? nullptr : instance;
}

bool VulkanInstance::load(std::string& why) {
  const char* carried = std::getenv(kLibraryVariable);
  const bool named = carried != nullptr && *carried != '\0';
  const char* name = named ? carried : "libvulkan.so.1";
  library_ = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) {
    why = named ? fmt::format("the Vulkan loader {} that {} names cannot be opened", printable(name), kLibraryVariable)
                : fmt::format("the Vulkan loader ({}) is not installed", name);
    return false;
  }
  get_ = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library_, "vkGetInstanceProcAddr"));
  if (get_ == nullptr) {
    why = fmt::format("{} has no vkGetInstanceProcAddr", printable(name));
    return false;
  }
#define LOADLINE_RESOLVE(name) name = reinterpret_cast<PFN_##name>(get_(nullptr, #name));
  LOADLINE_VULKAN_GLOBAL(LOADLINE_RESOLVE)
#undef LOADLINE_RESOLVE
  std::uint32_t version = VK_API_VERSION_1_0;
  if (vkEnumerateInstanceVersion != nullptr) vkEnumerateInstanceVersion(&version);
  if (version < VK_API_VERSION_1_2) {
    why = "the Vulkan loader is older than Vulkan 1.2";
    return false;
  }
  return true;
}

void VulkanInstance::create(std::string& why) {
  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "loadline";
  application.apiVersion = VK_API_VERSION_1_3;
  VkInstanceCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  create.pApplicationInfo = &application;
  VkDebugUtilsMessengerCreateInfoEXT messages{};
  messages.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  messages.messageSeverity =
      VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messages.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  messages.pfnUserCallback = on_message;
  messages.pUserData = &sink_;
  const char* extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  if (sink_) {
    std::uint32_t count = 0;
    vkEnumerateInstanceLayerProperties(&count, nullptr);
    std::vector<VkLayerProperties> layers(count);
    vkEnumerateInstanceLayerProperties(&count, layers.data());
    if (std::ranges::none_of(
            layers, [](const VkLayerProperties& l) { return std::strcmp(l.layerName, kValidationLayer) == 0; })) {
      throw Error(ErrorCode::DeviceFailure, fmt::format("the Vulkan layer {} is not installed", kValidationLayer),
                  "Install the package vulkan-validationlayers, or do without LOADLINE_VULKAN_VALIDATION.");
    }
    create.enabledLayerCount = 1;
    create.ppEnabledLayerNames = &kValidationLayer;
    create.enabledExtensionCount = 1;
    create.ppEnabledExtensionNames = &extension;
    create.pNext = &messages;  // also for vkCreateInstance and vkDestroyInstance themselves
  }
  if (const VkResult result = vkCreateInstance(&create, nullptr, &instance_); result != VK_SUCCESS) {
    instance_ = VK_NULL_HANDLE;
    why = fmt::format("no Vulkan driver could be started ({})", vulkan_result_name(result));
    return;
  }
#define LOADLINE_RESOLVE(name) name = reinterpret_cast<PFN_##name>(get_(instance_, #name));
  LOADLINE_VULKAN_INSTANCE(LOADLINE_RESOLVE)
#undef LOADLINE_RESOLVE
  if (!sink_) return;
  const auto create_messenger =
      reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(get_(instance_, "vkCreateDebugUtilsMessengerEXT"));
  messages.pNext = nullptr;
  if (create_messenger != nullptr) create_messenger(instance_, &messages, nullptr, &messenger_);
}

VulkanInstance::~VulkanInstance() {
  if (messenger_ != VK_NULL_HANDLE) {
    const auto destroy =
        reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(get_(instance_, "vkDestroyDebugUtilsMessengerEXT"));
    destroy(instance_, messenger_, nullptr);
  }
  if (instance_ != VK_NULL_HANDLE) vkDestroyInstance(instance_, nullptr);
  // The library stays: drivers leave threads and exit handlers behind that must not lose their code.
}

std::vector<VkPhysicalDevice> VulkanInstance::physical_devices() const {
  std::uint32_t count = 0;
  if (vkEnumeratePhysicalDevices(instance_, &count, nullptr) != VK_SUCCESS) return {};
  std::vector<VkPhysicalDevice> devices(count);
  vkEnumeratePhysicalDevices(instance_, &count, devices.data());
  devices.resize(count);
  return devices;
}

bool VulkanInstance::has_extension(VkPhysicalDevice device, const char* name) const {
  std::uint32_t count = 0;
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> all(count);
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, all.data());
  return std::ranges::any_of(all,
                             [&](const VkExtensionProperties& e) { return std::strcmp(e.extensionName, name) == 0; });
}

std::vector<VulkanDeviceInfo> list_vulkan_devices(const VulkanInstance& instance) {
  std::vector<VulkanDeviceInfo> devices;
  for (VkPhysicalDevice device : instance.physical_devices()) devices.push_back(describe(instance, device));
  std::ranges::stable_sort(devices, {}, [](const VulkanDeviceInfo& d) { return d.kind; });
  for (std::size_t i = 0; i < devices.size(); ++i) devices[i].id = fmt::format("vulkan{}", i);
  return devices;
}

std::optional<HeapUse> device_heap_use(const VulkanInstance& instance, VkPhysicalDevice device) {
  if (!instance.has_extension(device, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME)) return std::nullopt;
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{};
  budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
  VkPhysicalDeviceMemoryProperties2 memory{};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  memory.pNext = &budget;
  instance.vkGetPhysicalDeviceMemoryProperties2(device, &memory);
  const int heap = largest_heap(memory.memoryProperties);
  if (heap < 0) return std::nullopt;
  return HeapUse{Bytes(budget.heapBudget[heap]), Bytes(budget.heapUsage[heap])};
}

std::optional<Bytes> free_device_memory(const VulkanInstance& instance, VkPhysicalDevice device) {
  const std::optional<HeapUse> heap = device_heap_use(instance, device);
  if (!heap) return std::nullopt;
  return heap->budget - std::min(heap->budget, heap->used);
}

std::string vulkan_result_name(VkResult result) {
  switch (result) {
#define LOADLINE_RESULT(name) \
  case name: return #name;
    LOADLINE_RESULT(VK_ERROR_OUT_OF_HOST_MEMORY)
    LOADLINE_RESULT(VK_ERROR_OUT_OF_DEVICE_MEMORY)
    LOADLINE_RESULT(VK_ERROR_INITIALIZATION_FAILED)
    LOADLINE_RESULT(VK_ERROR_DEVICE_LOST)
    LOADLINE_RESULT(VK_ERROR_MEMORY_MAP_FAILED)
    LOADLINE_RESULT(VK_ERROR_LAYER_NOT_PRESENT)
    LOADLINE_RESULT(VK_ERROR_EXTENSION_NOT_PRESENT)
    LOADLINE_RESULT(VK_ERROR_FEATURE_NOT_PRESENT)
    LOADLINE_RESULT(VK_ERROR_INCOMPATIBLE_DRIVER)
    LOADLINE_RESULT(VK_ERROR_TOO_MANY_OBJECTS)
    LOADLINE_RESULT(VK_TIMEOUT)
#undef LOADLINE_RESULT
    default: return fmt::format("Vulkan result {}", static_cast<int>(result));
  }
}

}  // namespace loadline::hardware
