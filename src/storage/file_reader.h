// Reads ranges of files as fast as they can be had: from the page cache what is there, the rest past it, straight from
// the disk, so that loading a model does not push other programs' files out of memory.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "storage/descriptors.h"

namespace loadline::storage {

// Thread-safe; allocates only when constructed. The files must outlive it.
class FileReader {
 public:
  explicit FileReader(std::span<const File> files);

  // Bytes a buffer needs for a range of `size`: direct reads begin and end on whole pages.
  static constexpr std::size_t buffer_size(std::size_t size) { return align_up(size, 4096) + 4096; }

  // Reads [offset, offset + size) of a file into `buffer`, which begins on a page and holds buffer_size(size) bytes,
  // and returns where in it the range lies. Throws Error(DeviceFailure) where the file ends early or reading fails.
  std::span<std::byte> read(std::uint32_t file, Bytes offset, std::size_t size, std::span<std::byte> buffer) const;

 private:
  // At least `needed` bytes into `out`.
  void read_fully(std::uint32_t file, int descriptor, Bytes begin, std::span<std::byte> out, std::size_t needed) const;

  std::span<const File> files_;
  Descriptors descriptors_;
};

}  // namespace loadline::storage
