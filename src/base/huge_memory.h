// Memory to measure with: lazily given by the system, in huge pages where it has them. What the plan counts is not
// taken from here but from a device's arenas.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <string>

#include "base/bytes.h"
#include "base/error.h"

namespace loadline {

// Owns at least `size` bytes of zeros, which come with their first use. Throws Error(DoesNotFit) where the system
// refuses; `purpose` ends the sentence ("to measure kernels in").
class HugeMemory {
 public:
  HugeMemory(std::size_t size, const char* purpose) : size_(align_up(size, std::size_t{2} << 20)) {
    void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      throw Error(ErrorCode::DoesNotFit, "no " + to_string(Bytes(size_)) + " of memory are free " + purpose);
    }
    ::madvise(memory, size_, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(memory);
  }
  ~HugeMemory() { ::munmap(data_, size_); }
  HugeMemory(const HugeMemory&) = delete;
  HugeMemory& operator=(const HugeMemory&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }
  template <class T>
  [[nodiscard]] T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_;
  std::size_t size_;
};

}  // namespace loadline
