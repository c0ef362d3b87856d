// Counts what operator new hands out, in test programs that link loadline_test_allocations: it replaces the global
// operators. Memory taken otherwise (malloc, mmap) is not seen.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace loadline::test {

// Counts from its construction on, the allocations of all threads. One at a time.
class AllocationWatch {
 public:
  AllocationWatch();

  // Allocations made so far, and the most bytes that were alive at one time beyond those alive at the start.
  [[nodiscard]] std::uint64_t count() const;
  [[nodiscard]] Bytes peak() const;

 private:
  std::uint64_t count_at_start_;
  std::int64_t alive_at_start_;
};

// Requests above this size throw std::bad_alloc, so that a test of untrusted sizes fails instead of filling the
// machine.
inline constexpr Bytes kLargestAllocation = Bytes(1) * (std::uint64_t{1} << 30);

}  // namespace loadline::test
