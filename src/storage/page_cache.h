// What the system keeps of a file in memory, read without the disk. Private to the module.
#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.h"
#include "base/file.h"

namespace loadline::storage {

// Whether the page cache holds all of a range and what the system might read ahead after it. False where the system
// cannot say (before Linux 6.5).
bool is_cached(const File& file, Bytes offset, std::size_t size);

// Fills `out` from `offset` where that is so. False, with anything in `out`, where it is not. Starts no reads: brings
// nothing into the page cache.
bool read_cached(const File& file, Bytes offset, std::span<std::byte> out);

}  // namespace loadline::storage
