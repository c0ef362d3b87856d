#include "storage/file_reader.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

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

// Whether all pages of a range are in the page cache. No where the system cannot say. (Reading with RWF_NOWAIT would
// not do: where a page is missing, the system begins to read ahead into the cache.)
bool all_cached(int descriptor, Bytes offset, std::size_t size) {
  CachestatRange range{offset.value, size};
  Cachestat found{};
  if (::syscall(kCachestatCall, descriptor, &range, &found, 0) != 0) return false;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return found.cached == (offset.value + size + page - 1) / page - offset.value / page;
}

}  // namespace

FileReader::FileReader(std::span<const File> files) : files_(files), descriptors_(files, true) {}

void FileReader::read_fully(std::uint32_t file, int descriptor, Bytes begin, std::span<std::byte> out,
                            std::size_t needed) const {
  std::size_t done = 0;
  while (done < needed) {
    const ssize_t got =
        ::pread(descriptor, out.data() + done, out.size() - done, static_cast<off_t>(begin.value + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(ErrorCode::DeviceFailure,
                  fmt::format("{}: reading failed at byte {} ({})", files_[file].path().string(), begin.value + done,
                              std::strerror(errno)));
    }
    if (got == 0) {
      throw Error(ErrorCode::DeviceFailure,
                  fmt::format("{}: ended early at byte {}; the file changed while it was in use",
                              files_[file].path().string(), begin.value + done));
    }
    done += static_cast<std::size_t>(got);
  }
}

std::span<std::byte> FileReader::read(std::uint32_t file, Bytes offset, std::size_t size,
                                      std::span<std::byte> buffer) const {
  if (all_cached(files_[file].descriptor(), offset, size)) {
    read_fully(file, files_[file].descriptor(), offset, buffer.first(size), size);
    return buffer.first(size);
  }
  const Bytes begin(offset.value / 4096 * 4096);
  const std::size_t before = (offset - begin).value;
  read_fully(file, descriptors_.all()[file], begin, buffer.first(align_up(before + size, 4096)), before + size);
  return buffer.subspan(before, size);
}

}  // namespace loadline::storage
