// Writes a GGUF file as a stream: the header first, then the tensors' data in order, never holding a model in memory.
// What it accepts, open_model accepts: both follow the rules of layout.h. It writes no split files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/output_file.h"
#include "gguf/gguf.h"

namespace loadline::gguf {

// A tensor to be written; shape[0] is the row length.
struct NewTensor {
  std::string name;
  quant::TensorType type = quant::TensorType::F32;
  std::vector<std::uint64_t> shape;  // 1 to 4 dimensions
};

// One file being written, as OutputFile does it: whole or not at all, and never onto `inputs`. Not copied, not moved;
// for one thread.
//
// Errors: BadInput for metadata, tensors or a path that cannot be and where writing fails, Internal where the caller's
// data do not match the tensors it announced.
class Writer {
 public:
  // Begins with the header. The data are aligned to general.alignment where
  // the metadata have it, else to 32 bytes.
  Writer(const std::filesystem::path& target, const Metadata& metadata, std::span<const NewTensor> tensors,
         std::span<const std::filesystem::path> inputs = {});
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // In the order given; offsets and sizes as they will be in the file.
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const { return tensors_; }
  // Of the finished file, padding included.
  [[nodiscard]] Bytes file_size() const { return file_size_; }

  // The next bytes of the tensors' data, in the tensors' order: a tensor may be appended in pieces, but no piece may
  // reach into the next tensor. Padding between tensors is put in here.
  void append(std::span<const std::byte> data);

  // Leaves all data that were not appended as a hole: read as zeros, taking no room on file systems that have holes.
  // Nothing may be appended after it.
  void leave_hole();

  // Brings the file to the disk and gives it its name. Every tensor must be complete. Call once, last.
  void finish();

 private:
  void pad_to(Bytes offset);

  std::string target_;  // for messages
  OutputFile file_;
  std::vector<TensorInfo> tensors_;
  Bytes file_size_;
  std::size_t current_ = 0;  // the tensor that the next bytes belong to
  Bytes written_;            // of that tensor
};

}  // namespace loadline::gguf
