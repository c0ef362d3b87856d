// Files that are written: whole or not at all, and never onto a file that is read. The only place that writes files;
// it knows no format.
#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"

namespace loadline {

// Writes all of `data` to an open descriptor, whether it waits or not (O_NONBLOCK). 0, or why it cannot be written
// (errno); EINTR once `stop` is set.
int write_whole(int descriptor, std::span<const std::byte> data, const std::atomic<bool>* stop = nullptr);

// The paths of open files, as OutputFile's inputs.
std::vector<std::filesystem::path> paths_of(std::span<const File> files);

// One file being written, for one thread. Not copied, not moved.
//
// A regular file is written aside and put in its place by finish(); until then, and where finish() is never reached,
// what was there stays, and nothing is left behind (a killed program leaves nothing either where the file system has
// files without names). A link is followed; what it leads to is replaced. What is there and cannot be replaced
// (a pipe, a terminal, another character device, a socket that listens) is written to as it is, and so is a descriptor
// of this process: /dev/stdout, /dev/fd/3, and "-" for standard output.
//
// Every failure is Error(BadInput) that names the file, a full disk and a limit on the size of files included. The
// latter needs SIGXFSZ ignored.
class OutputFile {
 public:
  // Refuses what cannot be written to, and any of `inputs`, whatever name it has here.
  explicit OutputFile(const std::filesystem::path& path, std::span<const std::filesystem::path> inputs = {});
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Bytes so far.
  [[nodiscard]] Bytes size() const { return flushed_ + Bytes(buffer_.size()); }

  void write(std::span<const std::byte> data);
  void write(std::string_view text);
  // Zeros up to `size`: a hole where the file can have one.
  void fill(Bytes size);
  // Brings the file to the disk and gives it its name. Call once, last.
  void finish();

 private:
  void open_aside(const std::filesystem::path& target, unsigned mode);
  void open_special(const std::filesystem::path& target, bool socket);
  void give_name();
  void flush();
  void put(std::span<const std::byte> data);
  [[noreturn]] void fail(int reason) const;

  std::filesystem::path path_;    // as the user named it
  std::filesystem::path target_;  // where links lead; empty where there is nothing to replace
  std::filesystem::path aside_;   // the temporary name; empty while the file has none
  int descriptor_ = -1;
  Bytes flushed_;
  std::vector<std::byte> buffer_;
};

}  // namespace loadline
