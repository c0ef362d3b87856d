// A Vulkan loader for tests: the system's, but for what the driver says of a device's memory. How many bytes this
// process may use is what a file says, and how many it uses is what it has allocated. LOADLINE_TEST_MEMORY_BUDGET names
// the file; while it is empty or missing, there is room for everything. `loadline` takes this loader where
// LOADLINE_VULKAN_LIBRARY names it, so that the whole program meets another holder of graphics memory, and no part of
// it knows of tests.
#include <dlfcn.h>
#include <vulkan/vulkan_core.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

namespace {

template <class Function>
Function system_function(VkInstance instance, const char* name) {
  static void* const kLibrary = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (kLibrary == nullptr) return nullptr;
  static const auto kGet = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(kLibrary, "vkGetInstanceProcAddr"));
  return kGet == nullptr ? nullptr : reinterpret_cast<Function>(kGet(instance, name));
}

// The system's, once they were asked for. Of all instances they are the same, and outlive the one that asked.
PFN_vkGetDeviceProcAddr system_device_function = nullptr;
PFN_vkGetPhysicalDeviceMemoryProperties2 system_memory = nullptr;
PFN_vkEnumerateDeviceExtensionProperties system_extensions = nullptr;

std::mutex mutex;
std::map<VkDeviceMemory, std::uint64_t> allocations;  // bytes; guarded by the mutex
std::uint64_t most_allocated = 0;                     // likewise
PFN_vkAllocateMemory system_allocate = nullptr;
PFN_vkFreeMemory system_free = nullptr;

std::uint64_t sum_of_allocations() {
  std::uint64_t sum = 0;
  for (const auto& [memory, size] : allocations) sum += size;
  return sum;
}

std::uint64_t allocated_bytes() {
  const std::lock_guard lock(mutex);
  return sum_of_allocations();
}

VkResult allocate(VkDevice device, const VkMemoryAllocateInfo* info, const VkAllocationCallbacks* callbacks,
                  VkDeviceMemory* memory) {
  const VkResult result = system_allocate(device, info, callbacks, memory);
  const std::lock_guard lock(mutex);
  if (result == VK_SUCCESS) allocations[*memory] = info->allocationSize;
  most_allocated = std::max(most_allocated, sum_of_allocations());
  return result;
}

void free_memory(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks* callbacks) {
  {
    const std::lock_guard lock(mutex);
    allocations.erase(memory);
  }
  system_free(device, memory, callbacks);
}

PFN_vkVoidFunction device_function(VkDevice device, const char* name) {
  const PFN_vkVoidFunction found = system_device_function(device, name);
  if (std::string_view(name) == "vkAllocateMemory") {
    system_allocate = reinterpret_cast<PFN_vkAllocateMemory>(found);
    return reinterpret_cast<PFN_vkVoidFunction>(allocate);
  }
  if (std::string_view(name) == "vkFreeMemory") {
    system_free = reinterpret_cast<PFN_vkFreeMemory>(found);
    return reinterpret_cast<PFN_vkVoidFunction>(free_memory);
  }
  return found;
}

void tell_memory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2* memory) {
  system_memory(device, memory);
  const char* path = std::getenv("LOADLINE_TEST_MEMORY_BUDGET");
  for (auto* more = static_cast<VkBaseOutStructure*>(memory->pNext); more != nullptr; more = more->pNext) {
    if (more->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT) continue;
    auto& told = *reinterpret_cast<VkPhysicalDeviceMemoryBudgetPropertiesEXT*>(more);
    for (std::uint32_t heap = 0; heap < memory->memoryProperties.memoryHeapCount; ++heap) {
      std::uint64_t budget = memory->memoryProperties.memoryHeaps[heap].size;
      if (path != nullptr) std::ifstream(path) >> budget;
      told.heapBudget[heap] = budget;
      told.heapUsage[heap] = allocated_bytes();
    }
  }
}

// The device's own, and the one that tells of its memory.
VkResult list_extensions(VkPhysicalDevice device, const char* layer, std::uint32_t* count, VkExtensionProperties* out) {
  std::uint32_t own = 0;
  if (const VkResult result = system_extensions(device, layer, &own, nullptr); result != VK_SUCCESS) return result;
  std::vector<VkExtensionProperties> all(own);
  if (const VkResult result = system_extensions(device, layer, &own, all.data()); result != VK_SUCCESS) return result;
  VkExtensionProperties budget{};
  std::strcpy(budget.extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  budget.specVersion = VK_EXT_MEMORY_BUDGET_SPEC_VERSION;
  bool there = false;
  for (const VkExtensionProperties& one : all) {
    there = there || std::strcmp(one.extensionName, budget.extensionName) == 0;
  }
  if (!there) all.push_back(budget);
  if (out != nullptr) {
    for (std::uint32_t i = 0; i < *count && i < all.size(); ++i) out[i] = all[i];
  }
  *count = static_cast<std::uint32_t>(all.size());
  return VK_SUCCESS;
}

}  // namespace

// The most that was allocated at a time since this was last asked.
extern "C" __attribute__((visibility("default"))) std::uint64_t most_allocated_since() {
  const std::lock_guard lock(mutex);
  return std::exchange(most_allocated, sum_of_allocations());
}

// NOLINTNEXTLINE(readability-identifier-naming): the name is Vulkan's.
extern "C" __attribute__((visibility("default"))) PFN_vkVoidFunction vkGetInstanceProcAddr(VkInstance instance,
                                                                                           const char* name) {
  const std::string_view wanted = name;
  const auto instead = [&]<class Function>(Function& system, auto ours) {
    if (const auto found = system_function<Function>(instance, name)) system = found;
    return reinterpret_cast<PFN_vkVoidFunction>(ours);
  };
  if (wanted == "vkGetPhysicalDeviceMemoryProperties2") return instead(system_memory, tell_memory);
  if (wanted == "vkEnumerateDeviceExtensionProperties") return instead(system_extensions, list_extensions);
  if (wanted == "vkGetDeviceProcAddr") return instead(system_device_function, device_function);
  return system_function<PFN_vkVoidFunction>(instance, name);
}
