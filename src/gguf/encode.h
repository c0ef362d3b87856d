// The bytes of a GGUF header. Internal to the writer; the reverse of header.h.
#pragma once

#include <cstddef>
#include <vector>

#include "gguf/gguf.h"

namespace loadline::gguf {

// The header of a file of the newest version, without the padding after it. The offsets of `tensors` are written as
// they are, so they must count from the start of the data, as the format has it. Throws Error(BadInput) for keys,
// names and nesting that the reader would refuse.
std::vector<std::byte> encode_header(const Metadata& metadata, const std::vector<TensorInfo>& tensors);

}  // namespace loadline::gguf
