#include "storage/descriptors.h"

#include <fcntl.h>
#include <unistd.h>

namespace loadline::storage {
namespace {

// Some file systems let a file be opened for direct reads and then refuse them, or want them aligned to more than a
// page.
bool reads_directly(int descriptor) {
  alignas(4096) static thread_local std::byte page[4096];
  return ::pread(descriptor, page, sizeof page, 0) >= 0;
}

int open_direct(const File& file) {
  // By descriptor and not by path, so that it is the file that was opened and checked, whatever has its name now.
  const std::string self = "/proc/self/fd/" + std::to_string(file.descriptor());
  const int descriptor = ::open(self.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (descriptor < 0 || reads_directly(descriptor)) return descriptor;
  ::close(descriptor);
  return -1;
}

}  // namespace

Descriptors::Descriptors(std::span<const File> files, bool direct) {
  for (const File& file : files) {
    const int descriptor = direct ? open_direct(file) : -1;
    if (descriptor >= 0) owned_.push_back(descriptor);
    all_.push_back(descriptor >= 0 ? descriptor : file.descriptor());
  }
}

Descriptors::~Descriptors() {
  for (const int descriptor : owned_) ::close(descriptor);
}

}  // namespace loadline::storage
