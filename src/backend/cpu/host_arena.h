// One allocation of system memory: whole pages, huge where that pays, present before the constructor returns.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/bytes.h"

namespace loadline::cpu {

// Owns its memory, zeroed. Movable.
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

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] Bytes size() const { return size_; }
  // Bytes of it that are in memory now, by the kernel's account (mincore).
  [[nodiscard]] Bytes resident() const;

 private:
  std::byte* data_ = nullptr;
  Bytes size_;
};

}  // namespace loadline::cpu
