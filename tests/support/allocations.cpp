#include "support/allocations.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uint64_t> allocations = 0;
std::atomic<std::int64_t> alive = 0;
std::atomic<std::int64_t> most_alive = 0;

void* taken(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  allocations.fetch_add(1, std::memory_order_relaxed);
  const auto size = static_cast<std::int64_t>(::malloc_usable_size(memory));
  const std::int64_t now = alive.fetch_add(size, std::memory_order_relaxed) + size;
  std::int64_t most = most_alive.load(std::memory_order_relaxed);
  while (most < now && !most_alive.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
  }
  return memory;
}

void given_back(void* memory) {
  alive.fetch_sub(static_cast<std::int64_t>(::malloc_usable_size(memory)), std::memory_order_relaxed);
  std::free(memory);
}

void check_size(std::size_t size) {
  if (size > loadline::test::kLargestAllocation.value) throw std::bad_alloc();
}

}  // namespace

// All forms: the standard library's others call the first two, but those of the address sanitizer do not.
void* operator new(std::size_t size) {
  check_size(size);
  return taken(std::malloc(std::max<std::size_t>(size, 1)));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  check_size(size);
  void* memory = nullptr;
  const std::size_t boundary = std::max(static_cast<std::size_t>(alignment), sizeof(void*));
  if (::posix_memalign(&memory, boundary, std::max<std::size_t>(size, 1)) != 0) memory = nullptr;
  return taken(memory);
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return operator new(size, alignment); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept try {
  return operator new(size);
} catch (const std::bad_alloc&) {
  return nullptr;
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return operator new(size, std::nothrow); }
void operator delete(void* memory) noexcept { given_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { given_back(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { given_back(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { given_back(memory); }
void operator delete[](void* memory) noexcept { given_back(memory); }
void operator delete[](void* memory, std::size_t) noexcept { given_back(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { given_back(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { given_back(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { given_back(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { given_back(memory); }

namespace loadline::test {

AllocationWatch::AllocationWatch() : count_at_start_(allocations.load()), alive_at_start_(alive.load()) {
  most_alive.store(alive_at_start_);
}

std::uint64_t AllocationWatch::count() const { return allocations.load() - count_at_start_; }

Bytes AllocationWatch::peak() const { return Bytes(static_cast<std::uint64_t>(most_alive.load() - alive_at_start_)); }

}  // namespace loadline::test
