// A GGUF model as read from its header: metadata and the tensor table of one file or of all parts of a split model.
// Reading touches headers only, never weights; nothing in a file is believed before it is checked.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "gguf/metadata.h"
#include "gguf/value.h"
#include "quant/format.h"

namespace loadline::gguf {

// One tensor. `shape[0]` is the innermost dimension (the row length); unused dimensions are 1.
struct TensorInfo {
  std::string name;
  quant::TensorType type = quant::TensorType::F32;
  std::array<std::uint64_t, 4> shape = {1, 1, 1, 1};
  std::uint32_t dimensions = 1;
  std::uint32_t file = 0;  // index into Model::files
  Bytes offset;            // of the data, from the start of that file
  Bytes size;

  [[nodiscard]] std::uint64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
  [[nodiscard]] std::uint64_t columns() const { return shape[0]; }
  [[nodiscard]] std::uint64_t rows() const { return shape[1] * shape[2] * shape[3]; }
};

// The header of a model, with its files kept open for reading the weights. Immutable after open, and then safe to read
// from several threads.
struct Model {
  Metadata metadata;  // of the first file, without the split.* keys' meaning
  std::vector<TensorInfo> tensors;
  std::vector<File> files;
  std::uint32_t version = 3;  // of the GGUF format, in the first file

  // Index into `tensors`, or -1. Logarithmic after index_tensors(), which open_model has called; linear without.
  [[nodiscard]] std::int32_t find_tensor(std::string_view name) const;
  // All weights together.
  [[nodiscard]] Bytes tensor_bytes() const;

  // For whoever fills `tensors` by hand: prepares find_tensor. Call again after any change of `tensors`.
  void index_tensors();

  std::vector<std::uint32_t> by_name;  // indices of `tensors`, sorted by name; written by index_tensors() only
};

// Opens a model, given its file or the first file of a split model (NAME-00001-of-0000N.gguf; the rest are found beside
// it). Throws Error(BadInput) with one sentence that names the file and what is wrong.
// GGUF versions 2 and 3, little-endian. Memory used is at most a small multiple of the size of the headers.
Model open_model(const std::filesystem::path& path);

}  // namespace loadline::gguf
