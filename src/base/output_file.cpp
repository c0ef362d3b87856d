#include "base/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace loadline {
namespace fs = std::filesystem;
namespace {

// Small pieces are gathered up to this size before they are written.
constexpr std::size_t kBufferSize = std::size_t{1} << 20;
// As many links one after the other as the system follows (path_resolution(7)).
constexpr int kMostLinks = 40;

std::string shown(const fs::path& path) { return printable(path.string(), 4096); }

// The descriptor of this process that such a name stands for.
std::optional<int> named_descriptor(const std::string& path) {
  if (path == "-" || path == "/dev/stdout") return STDOUT_FILENO;
  if (path == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!path.starts_with(folder)) continue;
    int number = -1;
    const char* end = path.data() + path.size();
    const auto [stopped, problem] = std::from_chars(path.data() + folder.size(), end, number);
    if (problem == std::errc() && stopped == end && number >= 0) return number;
  }
  return std::nullopt;
}

// Where the last part of `path` leads, links of links included. One that leads nowhere yet is followed too.
fs::path follow(fs::path path) {
  for (int links = 0; links < kMostLinks; ++links) {
    if (named_descriptor(path.string())) return path;
    std::error_code problem;
    const fs::path link = fs::read_symlink(path, problem);
    if (problem) return path;
    path = link.is_absolute() ? link : path.parent_path() / link;
  }
  throw bad_input(fmt::format("{}: cannot be written: too many links lead from one to another", shown(path)));
}

std::string own_name(int descriptor) { return fmt::format("/proc/self/fd/{}", descriptor); }

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

}  // namespace

int write_whole(int descriptor, std::span<const std::byte> data, const std::atomic<bool>* stop) {
  while (!data.empty()) {
    const ssize_t taken = ::write(descriptor, data.data(), data.size());
    if (taken >= 0) {
      data = data.subspan(static_cast<std::size_t>(taken));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd wanted{descriptor, POLLOUT, 0};
      if (::poll(&wanted, 1, -1) < 0 && errno != EINTR) return errno;
    } else if (errno != EINTR) {
      return errno;
    }
    if (stop != nullptr && stop->load() && !data.empty()) return EINTR;
  }
  return 0;
}

std::vector<fs::path> paths_of(std::span<const File> files) {
  std::vector<fs::path> paths;
  for (const File& file : files) paths.push_back(file.path());
  return paths;
}

OutputFile::OutputFile(const fs::path& path, std::span<const fs::path> inputs) : path_(path) {
  if (path.empty()) throw bad_input("the file to write has an empty name");
  const fs::path target = follow(path);
  const std::optional<int> descriptor = named_descriptor(target.string());
  struct stat there{};
  const bool exists = (descriptor ? ::fstat(*descriptor, &there) : ::stat(target.c_str(), &there)) == 0;
  if (exists) {
    for (const fs::path& input : inputs) {
      struct stat read{};
      if (::stat(input.c_str(), &read) == 0 && same_file(there, read)) {
        throw bad_input(fmt::format("{}: is read from, and cannot be written to as well", shown(path)),
                        "Write to another file.");
      }
    }
    if (S_ISDIR(there.st_mode)) throw bad_input(fmt::format("{}: is a directory, not a file", shown(path)));
    if (S_ISBLK(there.st_mode)) throw bad_input(fmt::format("{}: is a whole disk, not a file", shown(path)));
  }
  if (descriptor) {
    descriptor_ = ::fcntl(*descriptor, F_DUPFD_CLOEXEC, 0);
    if (descriptor_ < 0) fail(errno);
  } else if (exists && !S_ISREG(there.st_mode)) {
    open_special(target, S_ISSOCK(there.st_mode));
  } else {
    if (exists && ::access(target.c_str(), W_OK) != 0) fail(errno);  // one that is protected is not replaced either
    open_aside(target, exists ? there.st_mode & 0777U : 0);
  }
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!aside_.empty()) ::unlink(aside_.c_str());
}

// `mode`: the permissions of the file it takes the place of; 0 where there is none.
void OutputFile::open_aside(const fs::path& target, unsigned mode) {
  target_ = target;
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  descriptor_ = ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
  // Naming it takes /proc.
  if (descriptor_ >= 0 && ::access(own_name(descriptor_).c_str(), F_OK) != 0) {
    ::close(std::exchange(descriptor_, -1));
    errno = EOPNOTSUPP;
  }
  // Where the file system has no files without names, under one that nobody else has.
  if (descriptor_ < 0 && errno != ENOENT && errno != ENOTDIR && errno != EACCES && errno != EROFS) {
    give_name();
  }
  if (descriptor_ < 0) fail(errno);
  if (mode != 0) (void)::fchmod(descriptor_, mode);
}

// Under a new name beside the target: the file that was opened without one, or a new file.
void OutputFile::give_name() {
  static std::atomic<unsigned> count = 0;
  constexpr std::size_t kLongestName = 255 - 32;  // of most file systems, less what is added here
  for (int attempt = 0; attempt < 1000; ++attempt) {
    std::string name = target_.filename().string();
    name.resize(std::min(name.size(), kLongestName));
    const fs::path aside =
        target_.parent_path() / fmt::format("{}.partial-{}-{}", name, ::getpid(), count.fetch_add(1));
    if (descriptor_ >= 0) {
      if (::linkat(AT_FDCWD, own_name(descriptor_).c_str(), AT_FDCWD, aside.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        aside_ = aside;
        return;
      }
      if (errno != EEXIST) fail(errno);
    } else {
      descriptor_ = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
      if (descriptor_ >= 0) {
        aside_ = aside;
        return;
      }
      if (errno != EEXIST) fail(errno);
    }
  }
  fail(EEXIST);
}

void OutputFile::open_special(const fs::path& target, bool socket) {
  if (!socket) {
    descriptor_ = ::open(target.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (descriptor_ < 0 && errno == EINTR) throw Error(ErrorCode::Interrupted, "stopped");
    if (descriptor_ < 0) fail(errno);
    return;
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = target.string();
  if (name.size() >= sizeof address.sun_path) fail(ENAMETOOLONG);
  std::ranges::copy(name, std::begin(address.sun_path));
  descriptor_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor_ < 0 || ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int reason = errno;
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    fail(reason);
  }
}

void OutputFile::write(std::span<const std::byte> data) {
  if (buffer_.size() + data.size() > kBufferSize) {
    flush();
    if (data.size() >= kBufferSize) {
      put(data);
      return;
    }
  }
  buffer_.insert(buffer_.end(), data.begin(), data.end());
}

void OutputFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void OutputFile::fill(Bytes size) {
  if (!target_.empty()) {
    flush();
    if (::ftruncate(descriptor_, static_cast<off_t>(size.value)) != 0 ||
        ::lseek(descriptor_, static_cast<off_t>(size.value), SEEK_SET) < 0) {
      fail(errno);
    }
    flushed_ = size;
    return;
  }
  const std::vector<std::byte> zeros(std::min<std::uint64_t>(kBufferSize, (size - this->size()).value));
  while (this->size() < size) {
    write(std::span(zeros).first(std::min<std::uint64_t>(zeros.size(), (size - this->size()).value)));
  }
}

void OutputFile::finish() {
  flush();
  if (!target_.empty()) {
    // Before the name: after a power failure there is the whole file, or none.
    if (::fsync(descriptor_) != 0) fail(errno);
    if (aside_.empty()) give_name();
    if (::rename(aside_.c_str(), target_.c_str()) != 0) fail(errno);
    aside_.clear();
  }
  if (::close(std::exchange(descriptor_, -1)) != 0) fail(errno);
}

void OutputFile::flush() {
  put(buffer_);
  buffer_.clear();
}

void OutputFile::put(std::span<const std::byte> data) {
  if (const int reason = write_whole(descriptor_, data); reason != 0) fail(reason);
  flushed_ += Bytes(data.size());
}

void OutputFile::fail(int reason) const {
  const bool full = reason == ENOSPC || reason == EDQUOT;
  throw bad_input(fmt::format("{}: cannot be written ({})", shown(path_), std::strerror(reason)),
                  full              ? "Make room on the disk, or write to another."
                  : reason == EFBIG ? "`ulimit -f` bounds the size of files here, or the file system does."
                                    : "");
}

}  // namespace loadline
