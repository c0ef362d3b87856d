#include "watch/system_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <memory>

#include "watch/parse.h"

namespace loadline::watch {
namespace {

constexpr std::size_t kMostRead = 64 * 1024;

char* buffer() {
  thread_local const std::unique_ptr<char[]> kText(new char[kMostRead]);
  return kText.get();
}

}  // namespace

SystemFile::SystemFile(const std::filesystem::path& path) : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}

SystemFile::~SystemFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string_view SystemFile::read() const {
  if (descriptor_ < 0) return {};
  char* text = buffer();
  std::size_t size = 0;
  while (size < kMostRead) {
    const ssize_t got = ::pread(descriptor_, text + size, kMostRead - size, static_cast<off_t>(size));
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  return {text, size};
}

std::optional<std::uint64_t> SystemFile::number() const { return parse_whole(read()); }

}  // namespace loadline::watch
