// One allocation of system memory: whole pages, huge where that pays, brought in before use and never lazily.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"

namespace loadline::cpu {

// Owns its memory, zeroed. Movable. Constructed, it is only reserved; `populate` brings it in.
class HostArena {
 public:
  HostArena() = default;
  // `huge_pages`: of 2 MiB, where the system has them. Throws Error(DoesNotFit) where it refuses; `name` is for the
  // message.
  HostArena(Bytes size, bool huge_pages, std::string_view name);
  HostArena(HostArena&& other) noexcept;
  HostArena& operator=(HostArena&& other) noexcept;
  HostArena(const HostArena&) = delete;
  HostArena& operator=(const HostArena&) = delete;
  ~HostArena();

  // Brings in the pages of [begin, end), multiples of kPopulateStep except the arena's end. Several threads may bring
  // in different parts, which is much faster than one. False where the system has no more memory.
  static constexpr std::uint64_t kPopulateStep = std::uint64_t{16} << 20;
  [[nodiscard]] bool populate(std::uint64_t begin, std::uint64_t end) const noexcept;

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] Bytes size() const { return size_; }
  // Bytes of it that are in memory now, by the kernel's account (mincore).
  [[nodiscard]] Bytes resident() const;

 private:
  std::byte* data_ = nullptr;
  Bytes size_;
};

}  // namespace loadline::cpu
