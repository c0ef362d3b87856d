#include "storage/descriptors.h"

#include <fcntl.h>
#include <unistd.h>

namespace loadline::storage {

Descriptors::Descriptors(std::span<const File> files, bool direct) {
  for (const File& file : files) {
    // By descriptor and not by path, so that it is the file that was opened and checked, whatever has its name now.
    const std::string self = "/proc/self/fd/" + std::to_string(file.descriptor());
    const int descriptor = direct ? ::open(self.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC) : -1;
    if (descriptor >= 0) owned_.push_back(descriptor);
    all_.push_back(descriptor >= 0 ? descriptor : file.descriptor());
  }
}

Descriptors::~Descriptors() {
  for (const int descriptor : owned_) ::close(descriptor);
}

}  // namespace loadline::storage
