#include "storage/file_reader.h"

#include <unistd.h>

#include <cerrno>

#include "storage/page_cache.h"
#include "storage/read_errors.h"

namespace loadline::storage {

FileReader::FileReader(std::span<const File> files) : files_(files), descriptors_(files, true) {}

void FileReader::read_fully(std::uint32_t file, int descriptor, Bytes begin, std::span<std::byte> out,
                            std::size_t needed) const {
  std::size_t done = 0;
  while (done < needed) {
    const ssize_t got =
        ::pread(descriptor, out.data() + done, out.size() - done, static_cast<off_t>(begin.value + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw reading_failed(files_[file], begin + Bytes(done), errno);
    if (got == 0) throw ended_early(files_[file], begin + Bytes(done));
    done += static_cast<std::size_t>(got);
  }
}

std::span<std::byte> FileReader::read(std::uint32_t file, Bytes offset, std::size_t size,
                                      std::span<std::byte> buffer) const {
  if (read_cached(files_[file], offset, buffer.first(size))) return buffer.first(size);
  const Bytes begin(offset.value / 4096 * 4096);
  const std::size_t before = (offset - begin).value;
  read_fully(file, descriptors_.all()[file], begin, buffer.first(align_up(before + size, 4096)), before + size);
  return buffer.subspan(before, size);
}

}  // namespace loadline::storage
