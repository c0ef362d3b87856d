#include "backend/cpu/host_arena.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"

namespace loadline::cpu {
namespace {

constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;

// Reserves `size` bytes at an address that is a multiple of `alignment`, giving back what the alignment cost.
void* map_aligned(std::uint64_t size, std::uint64_t alignment) {
  const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t reserve = alignment <= page ? size : size + alignment;
  void* raw = ::mmap(nullptr, reserve, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(raw);
  const std::uint64_t step = alignment <= page ? page : alignment;
  const std::uint64_t before = (step - reinterpret_cast<std::uintptr_t>(raw) % step) % step;
  const std::uint64_t used = align_up(size, page);
  if (before > 0) ::munmap(begin, before);
  if (reserve > before + used) ::munmap(begin + before + used, reserve - before - used);
  return begin + before;
}

}  // namespace

HostArena::HostArena(Bytes size, bool huge_pages, std::string_view name) : size_(size) {
  if (size.value == 0) return;
  void* memory = map_aligned(size.value, huge_pages ? kHugePage : 1);
  if (memory == nullptr) {
    throw Error(ErrorCode::DoesNotFit, fmt::format("the system refused {} of address space for {} ({})",
                                                   to_string(size), name, std::strerror(errno)));
  }
  data_ = static_cast<std::byte*>(memory);
  if (huge_pages) ::madvise(memory, size.value, MADV_HUGEPAGE);
}

bool HostArena::populate(std::uint64_t begin, std::uint64_t end) const noexcept {
  if (::madvise(data_ + begin, end - begin, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  // Linux before 5.14: touching does the same, but ends the process where there is no memory.
  for (std::uint64_t i = begin; i < end; i += 4096) reinterpret_cast<volatile char*>(data_)[i] = 0;
  return true;
}

HostArena::HostArena(HostArena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, Bytes())) {}

HostArena& HostArena::operator=(HostArena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

HostArena::~HostArena() {
  if (data_ != nullptr) ::munmap(data_, size_.value);
}

Bytes HostArena::resident() const {
  if (data_ == nullptr) return {};
  const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages(align_up(size_.value, page) / page);
  if (::mincore(data_, size_.value, pages.data()) != 0) return {};
  std::uint64_t present = 0;
  for (const unsigned char bits : pages) present += bits & 1U;
  return Bytes(present * page);
}

}  // namespace loadline::cpu
