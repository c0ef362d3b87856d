// Other devices than the one at hand: what its driver says of features, limits, memory and extensions is changed on its
// way. They are refused by a sentence that names what they lack, or compute the same.
#include <algorithm>
#include <cstring>

#include "backend/vulkan/gpu.h"
#include "backend/vulkan/products.h"
#include "support/refusal.h"

namespace loadline::vulkan::test {
namespace {

using testing::HasSubstr;

// What the driver says, to be changed. The functions of an instance have no place for an object: one at a time.
struct Other {
  std::function<void(VkPhysicalDeviceFeatures&, VkPhysicalDeviceVulkan11Features*, VkPhysicalDeviceVulkan12Features*,
                     VkPhysicalDeviceVulkan13Features*)>
      features;
  std::function<void(VkPhysicalDeviceProperties&, VkPhysicalDeviceVulkan11Properties*,
                     VkPhysicalDeviceVulkan13Properties*)>
      properties;
  std::function<void(VkPhysicalDeviceMemoryProperties&)> memory;
  const char* without = nullptr;  // an extension
  bool only_copies = false;       // none of its queues computes
};
const Other* other = nullptr;
PFN_vkGetPhysicalDeviceFeatures2 real_features;
PFN_vkGetPhysicalDeviceProperties2 real_properties;
PFN_vkGetPhysicalDeviceMemoryProperties2 real_memory;
PFN_vkEnumerateDeviceExtensionProperties real_extensions;
PFN_vkGetPhysicalDeviceQueueFamilyProperties real_queues;

template <class T>
T* in_chain(void* next, VkStructureType type) {
  for (auto* one = static_cast<VkBaseOutStructure*>(next); one != nullptr; one = one->pNext) {
    if (one->sType == type) return reinterpret_cast<T*>(one);
  }
  return nullptr;
}

void ask_through(hardware::VulkanInstance& instance) {
  real_features = instance.vkGetPhysicalDeviceFeatures2;
  real_properties = instance.vkGetPhysicalDeviceProperties2;
  real_memory = instance.vkGetPhysicalDeviceMemoryProperties2;
  real_extensions = instance.vkEnumerateDeviceExtensionProperties;
  real_queues = instance.vkGetPhysicalDeviceQueueFamilyProperties;
  instance.vkGetPhysicalDeviceFeatures2 = [](VkPhysicalDevice device, VkPhysicalDeviceFeatures2* all) {
    real_features(device, all);
    if (!other->features) return;
    other->features(
        all->features,
        in_chain<VkPhysicalDeviceVulkan11Features>(all->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES),
        in_chain<VkPhysicalDeviceVulkan12Features>(all->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES),
        in_chain<VkPhysicalDeviceVulkan13Features>(all->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES));
  };
  instance.vkGetPhysicalDeviceProperties2 = [](VkPhysicalDevice device, VkPhysicalDeviceProperties2* all) {
    real_properties(device, all);
    if (!other->properties) return;
    other->properties(all->properties,
                      in_chain<VkPhysicalDeviceVulkan11Properties>(
                          all->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES),
                      in_chain<VkPhysicalDeviceVulkan13Properties>(
                          all->pNext, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES));
  };
  instance.vkGetPhysicalDeviceMemoryProperties2 = [](VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2* all) {
    real_memory(device, all);
    if (other->memory) other->memory(all->memoryProperties);
  };
  instance.vkEnumerateDeviceExtensionProperties = [](VkPhysicalDevice device, const char* layer, std::uint32_t* count,
                                                     VkExtensionProperties* all) {
    const VkResult result = real_extensions(device, layer, count, all);
    for (std::uint32_t i = 0; all != nullptr && other->without != nullptr && i < *count; ++i) {
      if (std::strcmp(all[i].extensionName, other->without) == 0) all[i].extensionName[0] = '-';
    }
    return result;
  };
}

void ask_for_queues_through(hardware::VulkanInstance& instance) {
  instance.vkGetPhysicalDeviceQueueFamilyProperties = [](VkPhysicalDevice device, std::uint32_t* count,
                                                         VkQueueFamilyProperties* all) {
    real_queues(device, count, all);
    for (std::uint32_t i = 0; all != nullptr && other->only_copies && i < *count; ++i) {
      all[i].queueFlags = VK_QUEUE_TRANSFER_BIT;
    }
  };
}

class Limited : public testing::Test {
 protected:
  void SetUp() override {
    if (!no_gpu().empty()) GTEST_SKIP() << no_gpu();
  }
  void TearDown() override {
    other = nullptr;
    for (const std::string& message : messages_.take()) ADD_FAILURE() << "validation layer: " << message;
  }
  DeviceOptions options(const Other& changed) {
    other = &changed;
    DeviceOptions options = options_for_tests(messages_);
    options.on_instance = [](hardware::VulkanInstance& instance) {
      ask_through(instance);
      ask_for_queues_through(instance);
    };
    return options;
  }
  std::string refusal_of(const Other& changed) {
    return loadline::test::refusal([&] { return Context(options(changed)).limits().lanes; }, ErrorCode::DeviceFailure)
        .sentence;
  }
  // Products of one token, a few and many, of such a device against the oracle.
  void expect_right_products(const Other& changed) {
    Gpu gpu(options(changed));
    cpu::test::Random random(1);
    const TestMatrix m(quant::TensorType::Q4_K, 70, 512, Style::Normal, random);
    for (const auto& [tokens, most] : {std::pair{1U, 1U}, {3U, kMostVectorRows}, {40U, 64U}}) {
      const std::vector<float> x = cpu::test::random_activations(tokens, 512, Style::Normal, random);
      const Result result = run(gpu, {m, nullptr, x, tokens, most});
      for (std::uint32_t t = 0; t < tokens; ++t) {
        for (std::uint32_t r = 0; r < m.rows; ++r) {
          const auto expected = cpu::test::expected_product(m, x, r, t);
          ASSERT_NEAR(result.at(t, r), expected.value, expected.tolerance) << "row " << r << " token " << t;
        }
      }
    }
  }

  Messages messages_;
};

TEST_F(Limited, devices_are_refused_with_the_feature_that_they_lack) {
  struct Case {
    const char* name;
    VkBool32 VkPhysicalDeviceVulkan12Features::* feature;
  };
  for (const Case& c : {Case{"timelineSemaphore", &VkPhysicalDeviceVulkan12Features::timelineSemaphore},
                        Case{"bufferDeviceAddress", &VkPhysicalDeviceVulkan12Features::bufferDeviceAddress},
                        Case{"storageBuffer8BitAccess", &VkPhysicalDeviceVulkan12Features::storageBuffer8BitAccess}}) {
    Other lacking;
    lacking.features = [&](auto&, auto*, auto* two, auto*) {
      if (two != nullptr) two->*c.feature = VK_FALSE;
    };
    EXPECT_THAT(refusal_of(lacking), HasSubstr(c.name));
  }
  Other lacking;
  lacking.features = [](auto& plain, auto* one, auto*, auto*) {
    plain.shaderInt64 = VK_FALSE;
    if (one != nullptr) one->storageBuffer16BitAccess = VK_FALSE;
  };
  const std::string both = refusal_of(lacking);
  EXPECT_THAT(both, HasSubstr("storageBuffer16BitAccess"));
  EXPECT_THAT(both, HasSubstr("shaderInt64"));
}

TEST_F(Limited, devices_are_refused_with_the_limit_that_is_too_low) {
  Other old;
  old.properties = [](auto& properties, auto*, auto*) { properties.apiVersion = VK_API_VERSION_1_1; };
  EXPECT_THAT(refusal_of(old), HasSubstr("Vulkan 1.2"));
  Other no_sums;
  no_sums.properties = [](auto&, auto* one, auto*) {
    if (one != nullptr) one->subgroupSupportedOperations = VK_SUBGROUP_FEATURE_BASIC_BIT;
  };
  EXPECT_THAT(refusal_of(no_sums), HasSubstr("subgroup arithmetic"));
  Other narrow;
  narrow.properties = [](auto& properties, auto*, auto*) { properties.limits.maxComputeWorkGroupInvocations = 128; };
  EXPECT_THAT(refusal_of(narrow), HasSubstr("workgroups of 256"));
}

TEST_F(Limited, devices_of_vulkan_1_2_compute_the_same) {
  Other older;
  older.properties = [](auto& properties, auto*, auto*) { properties.apiVersion = VK_API_VERSION_1_2; };
  expect_right_products(older);
}

TEST_F(Limited, devices_whose_subgroups_cannot_be_fixed_compute_the_same) {
  Other varying;
  varying.properties = [](auto&, auto*, auto* three) {
    if (three != nullptr) three->requiredSubgroupSizeStages = 0;
  };
  EXPECT_FALSE(Context(options(varying)).limits().fixed_lanes);
  expect_right_products(varying);
}

// Nothing small is in push constants, and buffers are found by address: neither limit is met.
TEST_F(Limited, devices_with_what_is_not_used_left_out_compute_the_same) {
  Other plain;
  plain.features = [](auto&, auto* one, auto* two, auto*) {
    if (one != nullptr) one->storagePushConstant16 = one->uniformAndStorageBuffer16BitAccess = VK_FALSE;
    if (two != nullptr) two->storagePushConstant8 = two->uniformAndStorageBuffer8BitAccess = VK_FALSE;
  };
  plain.properties = [](auto& properties, auto*, auto*) {
    properties.limits.maxStorageBufferRange = 1U << 27;  // the least there may be
    properties.limits.maxPushConstantsSize = 128;
    properties.limits.maxComputeSharedMemorySize = 16384;
    properties.limits.maxComputeWorkGroupInvocations = 256;
  };
  expect_right_products(plain);
}

TEST_F(Limited, allocations_bound_what_is_in_one_buffer) {
  Other small;
  small.properties = [](auto&, auto* one, auto*) {
    if (one != nullptr) one->maxMemoryAllocationSize = 3 << 20;
  };
  Context context(options(small));
  EXPECT_EQ(context.limits().largest_allocation, 3 * kMiB);
  const std::vector<Piece> pieces = {{Bytes(0), 2 * kMiB}, {2 * kMiB, 5 * kMiB}};
  EXPECT_EQ(Arena(context, MemoryKind::Device, 5 * kMiB, pieces, "a test").first_part(), 2 * kMiB);
  const std::vector<Piece> whole = {{Bytes(0), 5 * kMiB}};
  EXPECT_THAT(loadline::test::refusal(
                  [&] { return Arena(context, MemoryKind::Device, 5 * kMiB, whole, "the weights").allocated(); },
                  ErrorCode::DeviceFailure)
                  .sentence,
              HasSubstr("the weights holds something larger than the 3.00 MiB"));
}

TEST_F(Limited, steps_of_too_many_workgroups_are_refused) {
  Other few;
  few.properties = [](auto& properties, auto*, auto*) { properties.limits.maxComputeWorkGroupCount[0] = 2; };
  Gpu gpu(options(few));
  cpu::test::Random random(1);
  const TestMatrix m(quant::TensorType::F32, 200, 64, Style::Normal, random);
  const std::vector<float> x = cpu::test::random_activations(1, 64, Style::Normal, random);
  EXPECT_THAT(loadline::test::refusal([&] { return run(gpu, {m, nullptr, x, 1, 1}).stride; }, ErrorCode::DeviceFailure)
                  .sentence,
              HasSubstr("workgroups (Matvec)"));
}

TEST_F(Limited, devices_that_do_not_say_what_is_free_are_taken_at_their_heap) {
  Other silent;
  silent.without = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
  const Context context(options(silent));
  EXPECT_EQ(context.heap_use(), std::nullopt);
  EXPECT_EQ(context.free_memory(), std::nullopt);
  EXPECT_EQ(context.taken(), std::nullopt);
  EXPECT_EQ(context.info().free, std::nullopt);
  EXPECT_GT(context.info().memory, Bytes(0));
}

TEST_F(Limited, devices_whose_queues_only_copy_are_refused) {
  Other copying;
  copying.only_copies = true;
  EXPECT_THAT(refusal_of(copying), HasSubstr("no queue for computing"));
}

// A card with a queue that only copies, one for all and one for computing alone: the first that computes is asked for.
std::uint32_t asked_family = 0;
TEST_F(Limited, devices_of_several_queues_are_asked_for_one_that_computes) {
  const Other same;
  DeviceOptions several = options(same);
  several.on_instance = [](hardware::VulkanInstance& instance) {
    ask_through(instance);
    instance.vkGetPhysicalDeviceQueueFamilyProperties = [](VkPhysicalDevice, std::uint32_t* count,
                                                           VkQueueFamilyProperties* all) {
      if (all == nullptr) {
        *count = 3;
        return;
      }
      all[0].queueFlags = VK_QUEUE_TRANSFER_BIT;
      all[1].queueFlags = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
      all[2].queueFlags = VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
    };
    instance.vkCreateDevice = [](VkPhysicalDevice, const VkDeviceCreateInfo* create, const VkAllocationCallbacks*,
                                 VkDevice*) {
      asked_family = create->queueCreateInfoCount == 1 ? create->pQueueCreateInfos[0].queueFamilyIndex : 99;
      return VK_ERROR_INITIALIZATION_FAILED;
    };
  };
  EXPECT_THAT(
      loadline::test::refusal([&] { return Context(several).limits().lanes; }, ErrorCode::DeviceFailure).sentence,
      HasSubstr("being opened"));
  EXPECT_EQ(asked_family, 1U);
}

TEST_F(Limited, products_of_bytes_are_used_where_the_device_is_fast_at_them) {
  const auto used = [&](VkBool32 there, VkBool32 fast, std::optional<bool> wanted = std::nullopt) {
    Other device;
    device.features = [&](auto&, auto*, auto*, auto* three) {
      if (three != nullptr) three->shaderIntegerDotProduct = there;
    };
    device.properties = [&](auto&, auto*, auto* three) {
      if (three != nullptr) three->integerDotProduct4x8BitPackedSignedAccelerated = fast;
    };
    DeviceOptions asked = options(device);
    asked.integer_dots = wanted;
    return Context(asked).integer_dots();
  };
  EXPECT_TRUE(used(VK_TRUE, VK_TRUE));
  EXPECT_FALSE(used(VK_TRUE, VK_FALSE));
  EXPECT_FALSE(used(VK_FALSE, VK_TRUE));
  EXPECT_TRUE(used(VK_TRUE, VK_FALSE, true));
  EXPECT_FALSE(used(VK_FALSE, VK_FALSE, true));
  EXPECT_FALSE(used(VK_TRUE, VK_TRUE, false));
}

TEST_F(Limited, devices_without_memory_of_their_own_are_refused) {
  Other none;
  none.memory = [](VkPhysicalDeviceMemoryProperties& memory) {
    for (VkMemoryHeap& heap : memory.memoryHeaps) heap.flags = 0;
  };
  EXPECT_THAT(refusal_of(none), HasSubstr("device-local memory"));
}

// A driver that loses its device at any call is one sentence that names it.
TEST_F(Limited, devices_that_are_lost_say_so_in_a_sentence) {
  const Other same;
  for (const Call call : {Call::AllocateMemory, Call::Submit}) {
    bool lost = false;
    DeviceOptions losing = options(same);
    losing.fault = [&](Call asked) { return lost && asked == call ? VK_ERROR_DEVICE_LOST : VK_SUCCESS; };
    Gpu gpu(losing);
    lost = true;
    const auto refused = loadline::test::refusal(
        [&] {
          gpu.buffer(256);
          gpu.run([](CommandList& list) { list.barrier(); });
          return 0;
        },
        ErrorCode::DeviceFailure);
    EXPECT_THAT(refused.sentence, HasSubstr("the GPU " + gpu.context.info().name + " was lost while"));
    EXPECT_THAT(refused.hint, HasSubstr("start again"));
    lost = false;
  }
}

constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
constexpr VkMemoryPropertyFlags kMapped = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
constexpr VkMemoryPropertyFlags kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

struct Type {
  VkMemoryPropertyFlags flags;
  std::uint32_t heap;
};
VkPhysicalDeviceMemoryProperties memory_of(const std::vector<Bytes>& heaps, const std::vector<Type>& types) {
  VkPhysicalDeviceMemoryProperties memory{};
  for (const Bytes heap : heaps) memory.memoryHeaps[memory.memoryHeapCount++].size = heap.value;
  for (const Type& type : types) {
    memory.memoryTypes[memory.memoryTypeCount++] = {type.flags, type.heap};
    memory.memoryHeaps[type.heap].flags |= type.flags & kLocal;  // VK_MEMORY_HEAP_DEVICE_LOCAL_BIT is the same bit
  }
  return memory;
}

// Heaps and types as drivers report them.
TEST(MemoryTypes, AreThoseThatDriversMean) {
  struct Case {
    const char* name;
    VkPhysicalDeviceMemoryProperties memory;
    std::uint32_t device, host;
  };
  const std::vector<Case> cases = {
      {"a card with a window of 256 MiB",
       memory_of({8 * kGiB, 32 * kGiB, 256 * kMiB},
                 {{0, 1}, {kLocal, 0}, {kMapped, 1}, {kMapped | kCached, 1}, {kLocal | kMapped, 2}}),
       1, 3},
      {"a card that can be mapped as a whole",
       memory_of({8 * kGiB, 32 * kGiB}, {{kMapped, 1}, {kLocal | kMapped, 0}, {kLocal, 0}, {kMapped | kCached, 1}}), 2,
       3},
      {"a card whose only types of its own can be mapped",
       memory_of({8 * kGiB, 32 * kGiB}, {{kLocal | kMapped, 0}, {kMapped | kCached, 1}}), 0, 1},
      {"one heap for all", memory_of({16 * kGiB}, {{kLocal | kMapped | kCached, 0}}), 0, 0},
      {"one heap with two types", memory_of({16 * kGiB}, {{kLocal | kMapped, 0}, {kLocal | kMapped | kCached, 0}}), 0,
       1},
      {"an integrated GPU with a part of its own",
       memory_of({15 * kGiB, kGiB}, {{kMapped, 0}, {kLocal, 1}, {kLocal | kMapped, 1}, {kMapped | kCached, 0}}), 1, 3},
      {"types for which a feature is needed",
       memory_of({8 * kGiB, 32 * kGiB}, {{kLocal | VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT, 0},
                                         {kLocal | VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD, 0},
                                         {kMapped | kCached | VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD, 1},
                                         {kLocal, 0},
                                         {kMapped, 1}}),
       3, 4},
  };
  for (const Case& c : cases) {
    const std::uint32_t all = (1U << c.memory.memoryTypeCount) - 1;
    EXPECT_EQ(memory_type(c.memory, MemoryKind::Device, all), c.device) << c.name;
    EXPECT_EQ(memory_type(c.memory, MemoryKind::Host, all), c.host) << c.name;
    EXPECT_EQ(memory_type(c.memory, MemoryKind::Device, 0), std::nullopt) << c.name;
  }
}

}  // namespace
}  // namespace loadline::vulkan::test
