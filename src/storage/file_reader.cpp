#include "storage/file_reader.h"

#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace loadline::storage {

FileReader::FileReader(std::span<const File> files) : files_(files), descriptors_(files, true) {}

// True if the whole range was in the page cache and has been copied.
bool FileReader::read_cached(std::uint32_t file, Bytes offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const iovec target{out.data() + done, out.size() - done};
    const ssize_t got = ::preadv2(files_[file].descriptor(), &target, 1, static_cast<off_t>(offset.value + done),
                                  RWF_NOWAIT);  // fails with EAGAIN rather than go to the disk
    if (got <= 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

void FileReader::read_direct(std::uint32_t file, Bytes begin, std::span<std::byte> out, std::size_t needed) const {
  const std::string path = files_[file].path().string();
  std::size_t done = 0;
  while (done < needed) {
    const ssize_t got =
        ::pread(descriptors_.all()[file], out.data() + done, out.size() - done, static_cast<off_t>(begin.value + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(ErrorCode::DeviceFailure,
                  fmt::format("{}: reading failed at byte {} ({})", path, begin.value + done, std::strerror(errno)));
    }
    if (got == 0) {
      throw Error(
          ErrorCode::DeviceFailure,
          fmt::format("{}: ended early at byte {}; the file changed while it was in use", path, begin.value + done));
    }
    done += static_cast<std::size_t>(got);
  }
}

std::span<std::byte> FileReader::read(std::uint32_t file, Bytes offset, std::size_t size,
                                      std::span<std::byte> buffer) const {
  if (read_cached(file, offset, buffer.first(size))) return buffer.first(size);
  const Bytes begin(offset.value / 4096 * 4096);
  const std::size_t before = (offset - begin).value;
  read_direct(file, begin, buffer.first(align_up(before + size, 4096)), before + size);
  return buffer.subspan(before, size);
}

}  // namespace loadline::storage
