// The header of one GGUF file, checked against the file. Internal to the reader; open_model joins the parts of a model.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "gguf/gguf.h"

namespace loadline::gguf {

struct Header {
  std::uint32_t version = 0;
  Metadata metadata;
  std::vector<TensorInfo> tensors;  // in file order; offsets from the start of the file; names unique
};

// Reads and checks the header of `file`, the part number `part` of a model (counted from 0). Throws Error(BadInput).
// `most`: of memory for what is decoded.
Header read_header(const File& file, std::uint32_t part, Bytes most);

// The refusal of a file that does not begin as GGUF files do: says what it is where that can be told.
Error not_a_gguf_file(const File& file);

}  // namespace loadline::gguf
