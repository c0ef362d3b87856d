#include "backend/cpu/host_arena.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace loadline::cpu {
namespace {

// How many steps a thread brings in at once, whichever nobody has yet: more than its caches hold, for writing past the
// caches is slow where a page was just cleared in them.
constexpr std::uint64_t kStepsAhead = 4;
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

// Of so many pages from there; 0 where the system does not say (kernel: admin-guide/mm/pagemap.rst).
std::uint64_t present_or_swapped(const std::byte* data, std::uint64_t pages, std::uint64_t page) {
  constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
  constexpr std::uint64_t kSwapped = std::uint64_t{1} << 62;
  const int file = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  std::array<std::uint64_t, 512> entries{};
  const std::uint64_t first = reinterpret_cast<std::uintptr_t>(data) / page;
  std::uint64_t count = 0;
  for (std::uint64_t done = 0; done < pages;) {
    const std::uint64_t wanted = std::min<std::uint64_t>(entries.size(), pages - done) * sizeof(entries[0]);
    const ssize_t got = ::pread(file, entries.data(), wanted, static_cast<off_t>((first + done) * sizeof(entries[0])));
    if (got < static_cast<ssize_t>(sizeof(entries[0]))) break;
    const std::uint64_t read = static_cast<std::uint64_t>(got) / sizeof(entries[0]);
    for (std::uint64_t i = 0; i < read; ++i) count += (entries[i] & (kPresent | kSwapped)) != 0 ? 1 : 0;
    done += read;
  }
  ::close(file);
  return count;
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
  steps_ = std::make_unique<Steps>(size.value);
  if (huge_pages) ::madvise(memory, size.value, MADV_HUGEPAGE);
}

// What grows moves to the beginning of a larger range, page by page and without a copy; what shrinks is cut off.
void HostArena::resize(Bytes size, bool huge_pages, std::string_view name) {
  if (data_ == nullptr || size.value == 0) {
    *this = HostArena(size, huge_pages, name);
    return;
  }
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t before = align_up(size_.value, page);
  const std::uint64_t after = align_up(size.value, page);
  if (after < before) {
    ::munmap(data_ + after, before - after);
  } else if (after > before) {
    HostArena larger(size, huge_pages, name);
    if (::mremap(data_, before, before, MREMAP_MAYMOVE | MREMAP_FIXED, larger.data_) == MAP_FAILED) {
      throw Error(ErrorCode::DoesNotFit,
                  fmt::format("the system refused to move {} to a larger place ({})", name, std::strerror(errno)));
    }
    data_ = std::exchange(larger.data_, nullptr);
    if (huge_pages) ::madvise(data_, size.value, MADV_HUGEPAGE);
  }
  auto steps = std::make_unique<Steps>(size.value);
  const std::uint64_t whole = std::min(size_.value, size.value) / kStep;  // the last one may be longer now
  for (std::uint64_t step = 0; step < whole; ++step) steps->states[step] = steps_->states[step].load();
  steps_ = std::move(steps);
  size_ = size;
}

bool HostArena::require(std::uint64_t begin, std::uint64_t end) noexcept {
  for (std::uint64_t step = begin / kStep; step * kStep < end; ++step) {
    std::atomic<Step>& state = steps_->states[step];
    for (Step now = state.load(std::memory_order_acquire); now != Step::Present; now = state.load()) {
      if (now == Step::Refused) return false;
      if (!bring_in_more(step)) state.wait(Step::InHand);
    }
  }
  return true;
}

// False if there is nothing left to bring in: others have it in hand.
bool HostArena::bring_in_more(std::uint64_t step) noexcept {
  std::uint64_t brought = bring_in(step) ? 1 : 0;
  while (brought < kStepsAhead) {
    const std::uint64_t next = steps_->ahead.fetch_add(1);
    if (next >= steps_->states.size()) break;
    if (bring_in(next)) ++brought;
  }
  return brought > 0;
}

// False if somebody else has or had it in hand.
bool HostArena::bring_in(std::uint64_t step) noexcept {
  std::atomic<Step>& state = steps_->states[step];
  Step expected = Step::Reserved;
  if (!state.compare_exchange_strong(expected, Step::InHand)) return false;
  const bool present = populate(step * kStep, std::min(size_.value, (step + 1) * kStep));
  state.store(present ? Step::Present : Step::Refused);
  state.notify_all();
  return true;
}

bool HostArena::populate(std::uint64_t begin, std::uint64_t end) const noexcept {
  if (::madvise(data_ + begin, end - begin, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  // Linux before 5.14: touching does the same, but ends the process where there is no memory.
  for (std::uint64_t i = begin; i < end; i += 4096) reinterpret_cast<volatile char*>(data_)[i] = 0;
  return true;
}

HostArena::HostArena(HostArena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, Bytes())),
      steps_(std::move(other.steps_)) {}

HostArena& HostArena::operator=(HostArena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(steps_, other.steps_);
  return *this;
}

HostArena::~HostArena() {
  if (data_ != nullptr) ::munmap(data_, size_.value);
}

Bytes HostArena::held() const {
  if (data_ == nullptr) return {};
  const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages(align_up(size_.value, page) / page);
  if (::mincore(data_, size_.value, pages.data()) != 0) return {};
  std::uint64_t present = 0;
  for (const unsigned char bits : pages) present += bits & 1U;
  if (present < pages.size()) present = std::max(present, present_or_swapped(data_, pages.size(), page));
  return Bytes(present * page);
}

}  // namespace loadline::cpu
