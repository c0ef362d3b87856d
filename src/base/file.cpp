#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/text_input.h"

namespace loadline {
namespace {

int open_for_reading(const std::filesystem::path& path, int more_flags) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | more_flags);
  if (descriptor >= 0) return descriptor;
  if (errno == ENOENT) throw bad_input(fmt::format("{}: no such file", path.string()));
  throw bad_input(fmt::format("{}: cannot be opened ({})", path.string(), std::strerror(errno)));
}

}  // namespace

File File::open(const std::filesystem::path& path) {
  // Non-blocking, since opening a pipe nobody writes to would wait for ever; it changes nothing for a regular file.
  const int descriptor = open_for_reading(path, O_NONBLOCK);
  struct stat status{};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    const bool directory = S_ISDIR(status.st_mode);
    ::close(descriptor);
    throw bad_input(
        fmt::format("{}: is {}, not a file", path.string(), directory ? "a directory" : "a device or pipe"));
  }
  return {path, descriptor, Bytes(static_cast<std::uint64_t>(status.st_size))};
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void File::read_at(Bytes offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset.value + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(ErrorCode::DeviceFailure, fmt::format("{}: reading failed at byte {} ({})", path_.string(),
                                                        offset.value + done, std::strerror(errno)));
    }
    if (got == 0) {
      throw bad_input(fmt::format("{}: ends at byte {}, where {} more bytes were expected", path_.string(),
                                  offset.value + done, out.size() - done),
                      "The download may be incomplete, or the file was cut while it was in use.");
    }
    done += static_cast<std::size_t>(got);
  }
}

std::string read_text(int descriptor, std::string_view name, Bytes limit) {
  std::string text;
  std::size_t used = 0;
  // To the end of the stream, whatever size is claimed: a pipe has none, and files in /proc claim to be empty.
  while (used <= limit.value) {
    text.resize(std::min<std::uint64_t>(std::max<std::uint64_t>(2 * used, 65536), limit.value + 1));
    const ssize_t got = ::read(descriptor, text.data() + used, text.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      pollfd wanted{descriptor, POLLIN, 0};
      if (::poll(&wanted, 1, -1) >= 0 || errno == EINTR) continue;
    }
    if (got < 0 && errno == EISDIR) throw bad_input(fmt::format("{}: is a directory, not a file", name));
    if (got < 0 && errno == EBADF) throw bad_input(fmt::format("{}: is closed", name));
    if (got < 0) {
      throw Error(ErrorCode::DeviceFailure, fmt::format("{}: reading failed ({})", name, std::strerror(errno)));
    }
    if (got == 0) {
      text.resize(used);
      return text;
    }
    used += static_cast<std::size_t>(got);
  }
  throw bad_input(fmt::format("{}: is too large here (more than {})", name, to_string(limit)));
}

std::string read_text_file(const std::filesystem::path& path, Bytes limit) {
  const File file({path, open_for_reading(path, 0), Bytes(0)});
  return read_text(file.descriptor(), path.string(), limit);
}

}  // namespace loadline
