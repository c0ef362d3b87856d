// How fast a model's bytes would come now: what of them the page cache holds, and what the disk gives. It reads a few
// MiB to find out, and keeps nothing.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "base/file.h"

namespace loadline::storage {

// Of [offset, offset + size) what a RangeReader would not have to read from the disk: all of it or nothing. Nothing
// where the system cannot say.
Bytes cached_bytes(const File& file, Bytes offset, Bytes size);

// Bytes/s of direct reads, several in flight, into `buffer`, which begins on a page and holds a MiB or more: up to 16
// MiB and about 0.15 s, at places all over the first file. nullopt where they fail or the file system refuses them.
std::optional<double> read_rate(std::span<const File> files, std::span<std::byte> buffer);

}  // namespace loadline::storage
