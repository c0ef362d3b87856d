// How much memory the headers of a model may take once decoded: metadata and tensor table.
#pragma once

#include <filesystem>

#include "gguf/gguf.h"

namespace loadline::gguf {

// What open_model(path) has; more than any known model takes.
inline constexpr Bytes kMostDecodedHeader = 64 * kMiB;

// open_model with another limit. What a header takes is counted before it is taken, and refused above `most`.
Model open_model(const std::filesystem::path& path, Bytes most);

}  // namespace loadline::gguf
