// What the system keeps of a file in memory, read without the disk. Private to the module.
#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.h"
#include "base/file.h"

namespace loadline::storage {

// Fills `out` from `offset` where the page cache holds all of that range and what the system might read ahead after it.
// False, with anything in `out`, where it does not, or the system cannot say (before Linux 6.5). Starts no reads:
// brings nothing into the page cache.
bool read_cached(const File& file, Bytes offset, std::span<std::byte> out);

}  // namespace loadline::storage
