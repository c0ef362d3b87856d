#include "storage/page_cache.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace loadline::storage {
namespace {

// The system call cachestat (Linux 6.5), which the C library does not know yet: number and structures are the same on
// every architecture (include/uapi/asm-generic/unistd.h, include/uapi/linux/mman.h).
constexpr long kCachestatCall = 451;
struct CachestatRange {
  std::uint64_t offset;
  std::uint64_t length;
};
struct Cachestat {
  std::uint64_t cached;
  std::uint64_t dirty;
  std::uint64_t writeback;
  std::uint64_t evicted;
  std::uint64_t recently_evicted;
};

// A page at which an earlier reader's read-ahead ended makes the system read on from there, whoever comes to it and
// even with RWF_NOWAIT, so reading what is cached would draw the rest of the file into the cache, piece by piece. It
// reads nothing where the pages after it are there as well. Twice what systems read ahead: 128 KiB as a rule, 8 MiB on
// large virtual disks.
constexpr Bytes kReadAhead = 16 * kMiB;

bool all_cached(int descriptor, Bytes offset, std::size_t size) {
  CachestatRange range{offset.value, size};
  Cachestat found{};
  if (::syscall(kCachestatCall, descriptor, &range, &found, 0) != 0) return false;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return found.cached == (offset.value + size + page - 1) / page - offset.value / page;
}

}  // namespace

bool is_cached(const File& file, Bytes offset, std::size_t size) {
  const Bytes needed = offset + Bytes(size);
  const Bytes end = std::min(needed + kReadAhead, std::max(needed, file.size()));
  return all_cached(file.descriptor(), offset, (end - offset).value);
}

bool read_cached(const File& file, Bytes offset, std::span<std::byte> out) {
  if (!is_cached(file, offset, out.size())) return false;
  int flags = RWF_NOWAIT;  // what was dropped meanwhile is read past the cache like the rest
  std::size_t done = 0;
  while (done < out.size()) {
    const iovec target{out.data() + done, out.size() - done};
    const ssize_t got = ::preadv2(file.descriptor(), &target, 1, static_cast<off_t>(offset.value + done), flags);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EOPNOTSUPP && flags != 0) {
      flags = 0;
      continue;
    }
    if (got <= 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

}  // namespace loadline::storage
