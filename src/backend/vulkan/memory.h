// Memory of a device: buffers with an address, and arenas of the plan made of as few of them as the limits allow.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "backend/vulkan/arguments.h"
#include "backend/vulkan/context.h"
#include "base/bytes.h"

namespace loadline::vulkan {

enum class MemoryKind : std::uint8_t {
  Device,  // of the largest device-local heap
  Host,    // of the system, mapped, coherent
};

// The memory type of `allowed` (a bit each) that suits best; nullopt where none will do. Host memory that is not on the
// device and is cached comes first: the CPU reads logits from it. On a device that shares the machine's memory both
// kinds are of one type.
std::optional<std::uint32_t> memory_type(const VkPhysicalDeviceMemoryProperties& memory, MemoryKind kind,
                                         std::uint32_t allowed);

// One allocation with one buffer over all of it. Owns both; movable. Zeroed only where the system does so.
class Buffer {
 public:
  Buffer() = default;
  // Exactly `size` bytes. Throws Error(DeviceFailure) where the driver refuses, or would take more.
  Buffer(Context& context, MemoryKind kind, Bytes size, const std::string& name);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  [[nodiscard]] VkBuffer handle() const { return buffer_; }
  [[nodiscard]] Address address() const { return address_; }
  [[nodiscard]] std::byte* data() const { return data_; }  // null unless Host
  [[nodiscard]] Bytes size() const { return size_; }       // allocated

 private:
  void create(MemoryKind kind, const std::string& name);
  void release() noexcept;

  Context* context_ = nullptr;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  Address address_ = 0;
  std::byte* data_ = nullptr;
  Bytes size_;
};

// A range of an arena as one buffer holds it.
struct Place {
  VkBuffer buffer = VK_NULL_HANDLE;
  VkDeviceSize offset = 0;  // in the buffer
  Address address = 0;
  std::byte* data = nullptr;  // null unless in Host memory
};

// Where an arena may be cut: the beginning and the end of something that must stay together.
struct Piece {
  Bytes begin;
  Bytes end;
};

// Ends of the parts of an arena of `size` bytes, none larger than `largest`, no piece across two. The pieces are in the
// order of their beginning. Throws Error(DeviceFailure) for a piece that is larger than `largest`; `name` is for the
// message.
std::vector<Bytes> cut_arena(Bytes size, Bytes largest, const std::vector<Piece>& pieces, const std::string& name);

// Owns its buffers. `place` is thread-safe.
class Arena {
 public:
  Arena() = default;
  Arena(Context& context, MemoryKind kind, Bytes size, const std::vector<Piece>& pieces, const std::string& name);

  // Of the byte at `offset`.
  [[nodiscard]] Place place(Bytes offset) const;
  [[nodiscard]] Bytes allocated() const;
  // Bytes from the arena's beginning that are in one buffer.
  [[nodiscard]] Bytes first_part() const { return parts_.empty() ? Bytes() : parts_.front().buffer.size(); }

 private:
  struct Part {
    Bytes begin;
    Buffer buffer;
  };
  std::vector<Part> parts_;
};

}  // namespace loadline::vulkan
