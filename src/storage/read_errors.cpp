#include "storage/read_errors.h"

#include <fmt/format.h>

#include <cstring>

namespace loadline::storage {

Error reading_failed(const File& file, Bytes at, int error) {
  return Error(ErrorCode::DeviceFailure,
               fmt::format("{}: reading failed at byte {} ({})", file.path().string(), at.value, std::strerror(error)));
}

Error ended_early(const File& file, Bytes at) {
  return Error(ErrorCode::DeviceFailure, fmt::format("{}: ended early at byte {}; the file changed while it was in use",
                                                     file.path().string(), at.value));
}

}  // namespace loadline::storage
