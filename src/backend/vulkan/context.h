// One GPU in use: the logical device with its queue, what it can do, and how its failures become Errors.
// Owns no memory and no schedule; those are memory.h and recorder.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/vulkan/matrix_units.h"
#include "hardware/vulkan_api.h"

namespace loadline::vulkan {

// Calls that can fail for want of something, for the fault hook: tests let each of them fail in turn.
enum class Call : std::uint8_t {
  CreateDevice,
  AllocateMemory,
  CreateBuffer,
  MapMemory,
  CreatePipeline,
  Record,
  Submit,
  Wait
};

struct DeviceOptions {
  std::string device;  // "vulkan0", or a part of the name as the driver says it, case ignored
  // Enables the Khronos validation layer, and makes each of its messages an Error. Also by
  // LOADLINE_VULKAN_VALIDATION=1.
  bool validate = false;
  std::function<void(const std::string&)> on_message;  // also told of each, those of the end included; may be empty
  // Asked before each such call; anything but VK_SUCCESS is taken for the call's result, and the call is not made.
  std::function<VkResult(Call)> fault;
  // Tests: what the driver would say is free now. Empty: the driver is asked.
  std::function<std::optional<Bytes>()> free_memory;
  // False: plain arithmetic only. Also by LOADLINE_VULKAN_MATRIX_UNITS=0.
  bool matrix_units = true;
  // Whether products of bytes are used (VK_KHR_shader_integer_dot_product); empty: where the device accelerates them.
  // Also by LOADLINE_VULKAN_INTEGER_DOTS, 0 or 1.
  std::optional<bool> integer_dots;
  // Tests: take the device for one with matrix units of this shape, and do what they do in loops.
  std::optional<MatrixShape> emulated_units;
  // Tests: may change what the device is asked through, to show another one.
  std::function<void(hardware::VulkanInstance&)> on_instance;
  // The shader of this name, or all formats of it ("MatvecQ4_K", "Matvec"), computes something else: whether it is
  // found.
  std::string broken_shader;
  std::filesystem::path cache_folder;    // of the pipeline cache; empty: none is kept
  std::uint64_t largest_allocation = 0;  // less than the device's own limit, for tests; 0: the device's
};

struct Limits {
  Bytes largest_allocation;  // of one allocation and one buffer
  std::uint32_t lanes = 32;  // of a subgroup
  bool fixed_lanes = false;  // a pipeline can be told to use exactly `lanes`, all of them active
  std::uint32_t shared_memory = 0;
  std::uint32_t most_workgroups = 65535;  // along one dimension
  bool software = false;
};

// Thread-safe where said; else used by one thread.
class Context {
 public:
  // Throws Error(DeviceFailure) naming the device and what it lacks, or that there is none of that name.
  explicit Context(const DeviceOptions& options);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  [[nodiscard]] VkDevice device() const { return device_; }
  [[nodiscard]] const hardware::VulkanDeviceInfo& info() const { return info_; }
  [[nodiscard]] std::optional<hardware::HeapUse> heap_use() const;
  [[nodiscard]] const Limits& limits() const { return limits_; }
  // What large products are multiplied with; nullopt: plain arithmetic.
  [[nodiscard]] std::optional<MatrixShape> matrix_units() const { return matrix_units_; }
  // They proved wrong.
  void do_without_matrix_units() { matrix_units_.reset(); }
  // Products of bytes are at hand, and worth it.
  [[nodiscard]] bool integer_dots() const { return integer_dots_; }
  void do_without_integer_dots() { integer_dots_ = false; }
  [[nodiscard]] std::uint32_t queue_family() const { return queue_family_; }
  [[nodiscard]] const VkPhysicalDeviceMemoryProperties& memory_properties() const { return memory_; }
  [[nodiscard]] const DeviceOptions& options() const { return options_; }
  // Identifies device and driver: names the pipeline cache's file.
  [[nodiscard]] std::string cache_name() const;

  // What the fault hook says, VK_SUCCESS without one. Thread-safe.
  [[nodiscard]] VkResult fault(Call call) const { return options_.fault ? options_.fault(call) : VK_SUCCESS; }
  // Throws Error(DeviceFailure) for anything but success: "the GPU NAME ran out of memory while DOING".
  void check(VkResult result, const std::string& doing) const;
  // Throws Error(DeviceFailure) with the first message of the validation layer since the last call. Thread-safe.
  void check_messages();

  // Submits to the one queue. Thread-safe. Throws as `check`.
  void submit(const VkSubmitInfo& info, const char* doing);
  // What is free on the device now, other processes' use included, where its driver can tell.
  [[nodiscard]] std::optional<Bytes> free_memory() const;
  // What was free before the device was opened, and how much less it is now; what others took meanwhile is taken for
  // ours.
  [[nodiscard]] std::optional<Bytes> free_before() const { return free_before_; }
  [[nodiscard]] std::optional<Bytes> taken() const;

// NOLINTBEGIN(readability-identifier-naming): the names are Vulkan's.
#define LOADLINE_DECLARE(name) PFN_##name name = nullptr;
  LOADLINE_VULKAN_DEVICE(LOADLINE_DECLARE)
#undef LOADLINE_DECLARE
  // NOLINTEND(readability-identifier-naming)

 private:
  void choose();
  void query();
  void find_matrix_units(const VkPhysicalDeviceVulkan12Features& features);
  void create_device();
  void resolve();

  DeviceOptions options_;
  std::mutex messages_lock_;
  std::vector<std::string> messages_;
  std::shared_ptr<hardware::VulkanInstance> instance_;
  hardware::VulkanDeviceInfo info_;
  std::optional<Bytes> free_before_;
  VkPhysicalDeviceMemoryProperties memory_{};
  Limits limits_;
  std::optional<MatrixShape> matrix_units_;
  bool integer_dots_ = false;
  std::string cache_name_;
  bool vulkan13_ = false;
  std::uint32_t queue_family_ = 0;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  std::mutex queue_lock_;
};

}  // namespace loadline::vulkan
