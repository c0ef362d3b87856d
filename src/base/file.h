// Files opened for reading: positioned reads that are whole or an Error. No caching, no mapping.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "base/bytes.h"

namespace loadline {

// An open, regular, readable file. Movable; closes on destruction. Reads may come from several threads at once.
class File {
 public:
  // Throws Error(BadInput) with the reason in words: not there, a directory, not permitted, not a regular file.
  static File open(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] Bytes size() const { return size_; }  // as it was when opened
  [[nodiscard]] int descriptor() const { return descriptor_; }

  // Fills `out` from `offset`. Throws Error(BadInput) if the file ends before, Error(DeviceFailure) on an I/O error.
  void read_at(Bytes offset, std::span<std::byte> out) const;

 private:
  friend std::string read_text_file(const std::filesystem::path& path, Bytes limit);
  File(std::filesystem::path path, int descriptor, Bytes size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}

  std::filesystem::path path_;
  int descriptor_ = -1;
  Bytes size_;
};

// The whole of a small file as text (a prompt, a plan); a pipe or device is read to its end. Throws as File does, and
// Error(BadInput) above `limit`.
std::string read_text_file(const std::filesystem::path& path, Bytes limit);

}  // namespace loadline
