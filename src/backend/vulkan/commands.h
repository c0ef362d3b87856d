// Recorded work, and the queue it is submitted to. A command list is recorded once and replayed any number of times.
#pragma once

#include <cstdint>
#include <mutex>

#include "backend/vulkan/arguments.h"
#include "backend/vulkan/context.h"
#include "backend/vulkan/memory.h"
#include "backend/vulkan/pipelines.h"

namespace loadline::vulkan {

struct Workgroups {
  std::uint32_t x = 1, y = 1, z = 1;
};

// One command buffer with a pool of its own. Owns both; movable. Everything between begin and end; throws
// Error(DeviceFailure) from these two only.
class CommandList {
 public:
  explicit CommandList(Context& context);
  CommandList(CommandList&& other) noexcept;
  CommandList& operator=(CommandList&& other) = delete;
  CommandList(const CommandList&) = delete;
  CommandList& operator=(const CommandList&) = delete;
  ~CommandList();

  [[nodiscard]] VkCommandBuffer handle() const { return commands_; }

  // `again`: it will be submitted more than once.
  void begin(bool again);
  void end();
  template <class Arguments>
  void dispatch(VkPipeline pipeline, VkPipelineLayout layout, const Arguments& arguments, Workgroups groups) {
    static_assert(sizeof(Arguments) <= kMostArguments);
    dispatch_bytes(pipeline, layout, &arguments, sizeof arguments, groups);
  }
  void copy(const Place& from, const Place& to, Bytes size);
  // What follows sees what was written before, by shaders and copies both.
  void barrier();
  // After the list is done, the host sees what it wrote.
  void barrier_to_host();

 private:
  void dispatch_bytes(VkPipeline pipeline, VkPipelineLayout layout, const void* arguments, std::size_t size,
                      Workgroups groups);

  Context* context_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
};

// The order of submissions, as a timeline: each gets the next number, and is done when the timeline has reached it.
// Thread-safe.
class Timeline {
 public:
  explicit Timeline(Context& context);
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  // Throws Error(DeviceFailure).
  std::uint64_t submit(const CommandList& list, const char* doing);
  void wait(std::uint64_t number, const char* doing);
  // All that was submitted is done, or the device is lost. Never throws: what destructors call.
  void drain() noexcept;

 private:
  Context& context_;
  std::mutex lock_;
  VkSemaphore semaphore_ = VK_NULL_HANDLE;
  std::uint64_t last_ = 0;
};

}  // namespace loadline::vulkan
