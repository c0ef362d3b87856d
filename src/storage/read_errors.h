// What went wrong with a read, in words.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"

namespace loadline::storage {

// Error(DeviceFailure): the system answered a read at byte `at` with this errno.
Error reading_failed(const File& file, Bytes at, int error);
// Error(DeviceFailure): the file has no byte `at`, where there was one.
Error ended_early(const File& file, Bytes at);

}  // namespace loadline::storage
