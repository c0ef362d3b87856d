#include "backend/vulkan/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/setting.h"

namespace loadline::vulkan {
namespace {

constexpr VkMemoryPropertyFlags kMapped = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

// Types for which a feature would have to be enabled, or that no buffer may be in.
constexpr VkMemoryPropertyFlags kSpecial = VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT |
                                           VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD |
                                           VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD;

}  // namespace

std::optional<std::uint32_t> memory_type(const VkPhysicalDeviceMemoryProperties& memory, MemoryKind kind,
                                         std::uint32_t allowed) {
  std::optional<std::uint32_t> best;
  int best_score = -1;
  for (std::uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    if ((allowed & (1U << i)) == 0) continue;
    const VkMemoryPropertyFlags flags = memory.memoryTypes[i].propertyFlags;
    if ((flags & kSpecial) != 0) continue;
    const bool local = (flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) != 0;
    int score = 0;
    if (kind == MemoryKind::Device) {
      if (!local) continue;
      // Of the largest heap, and of two such types the plainer one, which is what drivers mean for bulk data.
      score = static_cast<int>(memory.memoryHeaps[memory.memoryTypes[i].heapIndex].size >> 20) * 2 +
              ((flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) == 0 ? 1 : 0);
    } else {
      if ((flags & kMapped) != kMapped) continue;
      score = (local ? 0 : 2) + ((flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT) != 0 ? 1 : 0);
    }
    if (score > best_score) {
      best_score = score;
      best = i;
    }
  }
  return best;
}

Buffer::Buffer(Context& context, MemoryKind kind, Bytes size, const std::string& name)
    : context_(&context), size_(size) {
  try {
    create(kind, name);
  } catch (...) {
    release();
    throw;
  }
}

void Buffer::create(MemoryKind kind, const std::string& name) {
  const Context& c = *context_;
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = size_.value;
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
               VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  VkResult result = c.fault(Call::CreateBuffer);
  if (result == VK_SUCCESS) result = c.vkCreateBuffer(c.device(), &info, nullptr, &buffer_);
  c.check(result, fmt::format("making a buffer of {} for {}", to_string(size_), name));

  VkMemoryRequirements needs{};
  c.vkGetBufferMemoryRequirements(c.device(), buffer_, &needs);
  if (needs.size != size_.value) {
    throw Error(ErrorCode::DeviceFailure,
                fmt::format("the driver of the GPU {} takes {} bytes for {}, where the plan has {}", c.info().name,
                            needs.size, name, size_.value));
  }
  const std::optional<std::uint32_t> type = memory_type(c.memory_properties(), kind, needs.memoryTypeBits);
  if (!type) {
    throw Error(ErrorCode::DeviceFailure,
                fmt::format("the GPU {} offers no {} memory for {}", c.info().name,
                            kind == MemoryKind::Device ? "device-local" : "host-visible", name));
  }
  VkMemoryAllocateFlagsInfo flags{};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.pNext = &flags;
  allocate.allocationSize = needs.size;
  allocate.memoryTypeIndex = *type;
  result = c.fault(Call::AllocateMemory);
  if (result == VK_SUCCESS) result = c.vkAllocateMemory(c.device(), &allocate, nullptr, &memory_);
  c.check(result, fmt::format("allocating {} for {}", to_string(size_), name));
  c.check(c.vkBindBufferMemory(c.device(), buffer_, memory_, 0), "binding memory");

  VkBufferDeviceAddressInfo where{};
  where.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  where.buffer = buffer_;
  address_ = c.vkGetBufferDeviceAddress(c.device(), &where);
  if (kind != MemoryKind::Host) return;
  void* data = nullptr;
  result = c.fault(Call::MapMemory);
  if (result == VK_SUCCESS) result = c.vkMapMemory(c.device(), memory_, 0, VK_WHOLE_SIZE, 0, &data);
  c.check(result, fmt::format("mapping {}", name));
  data_ = static_cast<std::byte*>(data);
}

void Buffer::release() noexcept {
  if (context_ == nullptr) return;
  if (buffer_ != VK_NULL_HANDLE) context_->vkDestroyBuffer(context_->device(), buffer_, nullptr);
  if (memory_ != VK_NULL_HANDLE) context_->vkFreeMemory(context_->device(), memory_, nullptr);
  context_ = nullptr;
}

Buffer::Buffer(Buffer&& other) noexcept { *this = std::move(other); }

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  release();
  context_ = std::exchange(other.context_, nullptr);
  memory_ = other.memory_;
  buffer_ = other.buffer_;
  address_ = other.address_;
  data_ = other.data_;
  size_ = other.size_;
  return *this;
}

Buffer::~Buffer() { release(); }

std::vector<Bytes> cut_arena(Bytes size, Bytes largest, const std::vector<Piece>& pieces, const std::string& name) {
  std::vector<Bytes> ends;
  Bytes begin;
  while (size - begin > largest) {
    // The last place within reach that no piece spans: the beginning of a piece that all earlier ones end before.
    Bytes cut = begin;
    Bytes reached;
    for (const Piece& piece : pieces) {
      if (piece.begin >= reached && piece.begin > begin && piece.begin - begin <= largest) cut = piece.begin;
      reached = std::max(reached, piece.end);
    }
    if (cut == begin) {
      throw SettingError(ErrorCode::DeviceFailure,
                         fmt::format("{} holds something larger than the {} that the GPU's driver allocates at once",
                                     name, to_string(largest)),
                         "Put it on another device.", Setting::TensorPlacement);
    }
    ends.push_back(cut);
    begin = cut;
  }
  ends.push_back(size);
  return ends;
}

Arena::Arena(Context& context, MemoryKind kind, Bytes size, const std::vector<Piece>& pieces, const std::string& name) {
  Bytes begin;
  for (const Bytes end : cut_arena(size, context.limits().largest_allocation, pieces, name)) {
    parts_.push_back({begin, Buffer(context, kind, end - begin, name)});
    begin = end;
  }
}

Place Arena::place(Bytes offset) const {
  const auto after = std::ranges::upper_bound(parts_, offset, {}, &Part::begin);
  assert(after != parts_.begin());
  const Part& part = *std::prev(after);
  const std::uint64_t inside = (offset - part.begin).value;
  std::byte* data = part.buffer.data();
  return {part.buffer.handle(), inside, part.buffer.address() + inside, data == nullptr ? nullptr : data + inside};
}

Bytes Arena::allocated() const {
  Bytes total;
  for (const Part& part : parts_) total += part.buffer.size();
  return total;
}

}  // namespace loadline::vulkan
