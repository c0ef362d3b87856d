// The rules a GGUF file's layout follows, shared by the reader and the writer so that they cannot disagree.
// Every check throws Error(BadInput) with a sentence that names the tensor or key; the caller adds the file's name.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "gguf/metadata.h"
#include "quant/format.h"

namespace loadline::gguf {

// The file's first four bytes, and the versions of the format this module reads (it writes the newest). Versions 2 and
// 3 are laid out alike; 3 only adds big-endian files, which are refused.
inline constexpr std::string_view kMagic = "GGUF";
inline constexpr std::uint32_t kOldestVersion = 2;
inline constexpr std::uint32_t kNewestVersion = 3;

// GGUF specification: the length of a key, and the number of dimensions ggml's tensors have. The specification holds
// tensor names to 64 bytes; files that break that rule are harmless, so names get the limit of keys.
inline constexpr std::uint64_t kMaxKeyLength = 65535;
inline constexpr std::uint64_t kMaxNameLength = 65535;
inline constexpr std::uint32_t kMaxDimensions = 4;

// More than any model has, and little enough that a damaged header cannot ask for the memory of a large file. (A
// vocabulary of a quarter of a million tokens with its merges takes about 15 MiB; known models have below 100 keys and
// below 10 000 tensors.)
inline constexpr Bytes kMaxHeaderSize = 256 * kMiB;
inline constexpr std::uint64_t kMaxKeys = 1U << 16;
inline constexpr std::uint64_t kMaxTensors = 1U << 20;

// Where the metadata say nothing else (GGUF specification, "general.alignment").
inline constexpr std::uint64_t kDefaultAlignment = 32;

// What to say of a file that ends too early, and of one that contradicts itself.
inline constexpr const char* kIncompleteHint = "The download is incomplete; fetch it again.";
inline constexpr const char* kDamagedHint = "The file is damaged; fetch it again, or convert the model anew.";

// The alignment of tensor data: general.alignment, a power of two from 8 to 1 MiB.
std::uint64_t checked_alignment(const Metadata& metadata);

// The bytes a tensor takes. Refuses a shape of no or too many dimensions, an empty dimension, a row that is not a whole
// number of blocks, and one with more elements or bytes than an int64 counts.
Bytes checked_tensor_size(std::string_view name, quant::TensorType type, std::span<const std::uint64_t> shape);

// Refuses an empty or overlong name.
void check_tensor_name(std::string_view name);
void check_key(std::string_view key);

}  // namespace loadline::gguf
