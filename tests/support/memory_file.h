// A file that lives in memory, under a path, for tests and fuzzers that open thousands of them.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>

namespace loadline::test {

// Gone on destruction; its path is good for this process only.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("loadline-test", MFD_CLOEXEC)) {
    if (descriptor_ < 0) throw std::runtime_error("no file in memory can be made");
    path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  }
  explicit MemoryFile(std::span<const std::byte> contents) : MemoryFile() { set(contents); }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  // Replaces what the file holds.
  void set(std::span<const std::byte> contents) {
    if (::ftruncate(descriptor_, 0) != 0) throw std::runtime_error("a file in memory cannot be emptied");
    for (std::size_t done = 0; done < contents.size();) {
      const ssize_t put =
          ::pwrite(descriptor_, contents.data() + done, contents.size() - done, static_cast<off_t>(done));
      if (put < 0) throw std::runtime_error("a file in memory cannot be written");
      done += static_cast<std::size_t>(put);
    }
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  int descriptor_;
  std::filesystem::path path_;
};

}  // namespace loadline::test
