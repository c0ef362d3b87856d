#include "backend/vulkan/commands.h"

#include <limits>
#include <utility>

namespace loadline::vulkan {
namespace {

constexpr VkPipelineStageFlags kWorkStages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
constexpr VkAccessFlags kReads = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT;
constexpr VkAccessFlags kWrites = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;

}  // namespace

CommandList::CommandList(Context& context) : context_(&context) {
  VkCommandPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = context.queue_family();
  VkResult result = context.fault(Call::Record);
  if (result == VK_SUCCESS) result = context.vkCreateCommandPool(context.device(), &pool, nullptr, &pool_);
  context.check(result, "preparing its schedule");
  VkCommandBufferAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  allocate.commandPool = pool_;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  result = context.fault(Call::Record);
  if (result == VK_SUCCESS) result = context.vkAllocateCommandBuffers(context.device(), &allocate, &commands_);
  if (result != VK_SUCCESS) {
    context.vkDestroyCommandPool(context.device(), pool_, nullptr);
    context.check(result, "preparing its schedule");
  }
}

CommandList::CommandList(CommandList&& other) noexcept
    : context_(other.context_),
      pool_(std::exchange(other.pool_, VK_NULL_HANDLE)),
      commands_(std::exchange(other.commands_, VK_NULL_HANDLE)) {}

CommandList::~CommandList() {
  if (pool_ != VK_NULL_HANDLE) context_->vkDestroyCommandPool(context_->device(), pool_, nullptr);
}

void CommandList::begin(bool again) {
  VkCommandBufferBeginInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  info.flags = again ? 0 : VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  context_->check(context_->vkBeginCommandBuffer(commands_, &info), "preparing its schedule");
}

void CommandList::end() { context_->check(context_->vkEndCommandBuffer(commands_), "preparing its schedule"); }

void CommandList::dispatch_bytes(VkPipeline pipeline, VkPipelineLayout layout, const void* arguments, std::size_t size,
                                 Workgroups groups) {
  context_->vkCmdBindPipeline(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
  context_->vkCmdPushConstants(commands_, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, static_cast<std::uint32_t>(size),
                               arguments);
  context_->vkCmdDispatch(commands_, groups.x, groups.y, groups.z);
}

void CommandList::copy(const Place& from, const Place& to, Bytes size) {
  const VkBufferCopy region{from.offset, to.offset, size.value};
  context_->vkCmdCopyBuffer(commands_, from.buffer, to.buffer, 1, &region);
}

void CommandList::barrier() {
  VkMemoryBarrier memory{};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = kWrites;
  memory.dstAccessMask = kReads | kWrites;
  context_->vkCmdPipelineBarrier(commands_, kWorkStages, kWorkStages, 0, 1, &memory, 0, nullptr, 0, nullptr);
}

void CommandList::barrier_to_host() {
  VkMemoryBarrier memory{};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = kWrites;
  memory.dstAccessMask = VK_ACCESS_HOST_READ_BIT;
  context_->vkCmdPipelineBarrier(commands_, kWorkStages, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &memory, 0, nullptr, 0,
                                 nullptr);
}

Timeline::Timeline(Context& context) : context_(context) {
  VkSemaphoreTypeCreateInfo type{};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  info.pNext = &type;
  VkResult result = context.fault(Call::Record);
  if (result == VK_SUCCESS) result = context.vkCreateSemaphore(context.device(), &info, nullptr, &semaphore_);
  context.check(result, "preparing its queue");
}

Timeline::~Timeline() {
  drain();
  context_.vkDestroySemaphore(context_.device(), semaphore_, nullptr);
}

std::uint64_t Timeline::submit(const CommandList& list, const char* doing) {
  const std::lock_guard lock(lock_);
  const std::uint64_t number = last_ + 1;
  VkTimelineSemaphoreSubmitInfo values{};
  values.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
  values.signalSemaphoreValueCount = 1;
  values.pSignalSemaphoreValues = &number;
  VkCommandBuffer commands = list.handle();
  VkSubmitInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  info.pNext = &values;
  info.commandBufferCount = 1;
  info.pCommandBuffers = &commands;
  info.signalSemaphoreCount = 1;
  info.pSignalSemaphores = &semaphore_;
  context_.submit(info, doing);
  last_ = number;
  return number;
}

void Timeline::wait(std::uint64_t number, const char* doing) {
  VkSemaphoreWaitInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.semaphoreCount = 1;
  info.pSemaphores = &semaphore_;
  info.pValues = &number;
  VkResult result = context_.fault(Call::Wait);
  if (result == VK_SUCCESS) {
    result = context_.vkWaitSemaphores(context_.device(), &info, std::numeric_limits<std::uint64_t>::max());
  }
  context_.check(result, doing);
}

void Timeline::drain() noexcept { context_.vkDeviceWaitIdle(context_.device()); }

}  // namespace loadline::vulkan
