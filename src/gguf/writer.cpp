#include "gguf/writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "gguf/encode.h"
#include "gguf/layout.h"

namespace loadline::gguf {
namespace {

// Lays the tensors out one after the other; offsets count from the start of the data.
std::vector<TensorInfo> lay_out(std::span<const NewTensor> tensors, std::uint64_t alignment) {
  std::vector<TensorInfo> placed;
  std::set<std::string_view> names;
  Bytes end;
  for (const NewTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      throw bad_input(fmt::format("tensor {} is there twice", printable(tensor.name)));
    }
    TensorInfo info;
    info.name = tensor.name;
    info.type = tensor.type;
    info.size = checked_tensor_size(tensor.name, tensor.type, tensor.shape);
    info.dimensions = static_cast<std::uint32_t>(tensor.shape.size());
    std::ranges::copy(tensor.shape, info.shape.begin());
    info.offset = end;
    // Neither sum can wrap: both terms are below 2^63, and their sum is checked to be so too.
    end = align_up(info.offset + info.size, Bytes(alignment));
    if (end.value >= std::uint64_t{1} << 62) {
      throw bad_input(fmt::format("tensor {} ends beyond the largest file there can be", printable(tensor.name)));
    }
    placed.push_back(std::move(info));
  }
  return placed;
}

}  // namespace

Writer::Writer(const std::filesystem::path& target, const Metadata& metadata, std::span<const NewTensor> tensors,
               std::span<const std::filesystem::path> inputs)
    : target_(printable(target.string(), 4096)), file_(target, inputs) {
  const std::uint64_t alignment = checked_alignment(metadata);
  if (tensors.size() > kMaxTensors || metadata.entries().size() > kMaxKeys) {
    throw bad_input(fmt::format("{}: {} tensors and {} metadata keys are more than a GGUF file may have here", target_,
                                tensors.size(), metadata.entries().size()));
  }
  tensors_ = lay_out(tensors, alignment);
  const std::vector<std::byte> header = encode_header(metadata, tensors_);
  if (Bytes(header.size()) > kMaxHeaderSize) {
    throw bad_input(fmt::format("{}: a header of {} is larger than a GGUF file may have here", target_,
                                to_string(Bytes(header.size()))));
  }
  const Bytes data_start = align_up(Bytes(header.size()), Bytes(alignment));
  file_size_ = data_start;
  for (TensorInfo& tensor : tensors_) {
    tensor.offset += data_start;
    file_size_ = align_up(tensor.offset + tensor.size, Bytes(alignment));
  }

  file_.write(header);
  pad_to(data_start);
}

void Writer::append(std::span<const std::byte> data) {
  if (current_ == tensors_.size()) {
    if (data.empty()) return;
    throw Error(ErrorCode::Internal, fmt::format("{}: more data than its tensors hold", target_));
  }
  const TensorInfo& tensor = tensors_[current_];
  if (data.size() > (tensor.size - written_).value) {
    throw Error(ErrorCode::Internal,
                fmt::format("{}: more data than tensor {} holds", target_, printable(tensor.name)));
  }
  file_.write(data);
  written_ += Bytes(data.size());
  if (written_ < tensor.size) return;
  ++current_;
  written_ = Bytes(0);
  pad_to(current_ < tensors_.size() ? tensors_[current_].offset : file_size_);
}

void Writer::leave_hole() {
  file_.fill(file_size_);
  current_ = tensors_.size();
}

void Writer::finish() {
  if (current_ < tensors_.size()) {
    throw Error(ErrorCode::Internal,
                fmt::format("{}: {} of {} bytes of tensor {} were written", target_, written_.value,
                            tensors_[current_].size.value, printable(tensors_[current_].name)));
  }
  file_.finish();
}

// At most an alignment's worth, which is at most 1 MiB.
void Writer::pad_to(Bytes offset) {
  const std::vector<std::byte> zeros((offset - file_.size()).value);
  file_.write(zeros);
}

}  // namespace loadline::gguf
