#include "gguf/writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "gguf/encode.h"
#include "gguf/layout.h"

namespace loadline::gguf {
namespace {

// Small pieces are gathered up to this size before they are written.
constexpr std::size_t kBufferSize = std::size_t{1} << 20;

// A full disk is a matter of room; everything else that stops a write is the device's.
Error write_failure(const std::filesystem::path& path, std::string_view doing, int reason) {
  const bool full = reason == ENOSPC || reason == EDQUOT || reason == EFBIG;
  return {full ? ErrorCode::DoesNotFit : ErrorCode::DeviceFailure,
          fmt::format("{}: {} failed ({})", path.string(), doing, std::strerror(reason)),
          full ? "Make room on the disk, or write to another." : ""};
}

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

// A name that nobody else uses: the process's number and a count.
std::filesystem::path temporary_beside(const std::filesystem::path& target) {
  static std::atomic<unsigned> count = 0;
  std::filesystem::path name = target;
  name += fmt::format(".partial-{}-{}", ::getpid(), count.fetch_add(1));
  return name;
}

}  // namespace

Writer::Writer(const std::filesystem::path& target, const Metadata& metadata, std::span<const NewTensor> tensors)
    : target_(target), temporary_(temporary_beside(target)) {
  const std::uint64_t alignment = checked_alignment(metadata);
  if (tensors.size() > kMaxTensors || metadata.entries().size() > kMaxKeys) {
    throw bad_input(fmt::format("{}: {} tensors and {} metadata keys are more than a GGUF file may have here",
                                target.string(), tensors.size(), metadata.entries().size()));
  }
  tensors_ = lay_out(tensors, alignment);
  const std::vector<std::byte> header = encode_header(metadata, tensors_);
  if (Bytes(header.size()) > kMaxHeaderSize) {
    throw bad_input(fmt::format("{}: a header of {} is larger than a GGUF file may have here", target.string(),
                                to_string(Bytes(header.size()))));
  }
  const Bytes data_start = align_up(Bytes(header.size()), Bytes(alignment));
  file_size_ = data_start;
  for (TensorInfo& tensor : tensors_) {
    tensor.offset += data_start;
    file_size_ = align_up(tensor.offset + tensor.size, Bytes(alignment));
  }

  std::error_code ignored;
  if (std::filesystem::exists(target, ignored) && !std::filesystem::is_regular_file(target, ignored)) {
    throw bad_input(fmt::format("{}: is there and is not a file", target.string()));
  }
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw bad_input(fmt::format("{}: cannot be written ({})", target.string(), std::strerror(errno)));
  }
  try {
    put(header);
    pad_to(data_start);
  } catch (...) {
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
    throw;
  }
}

Writer::~Writer() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void Writer::append(std::span<const std::byte> data) {
  if (current_ == tensors_.size()) {
    if (data.empty()) return;
    throw Error(ErrorCode::Internal, fmt::format("{}: more data than its tensors hold", target_.string()));
  }
  const TensorInfo& tensor = tensors_[current_];
  if (data.size() > (tensor.size - written_).value) {
    throw Error(ErrorCode::Internal, fmt::format("{}: more data than tensor {} holds", target_.string(), tensor.name));
  }
  put(data);
  written_ += Bytes(data.size());
  if (written_ < tensor.size) return;
  ++current_;
  written_ = Bytes(0);
  pad_to(current_ < tensors_.size() ? tensors_[current_].offset : file_size_);
}

void Writer::leave_hole() {
  flush();
  if (::ftruncate(descriptor_, static_cast<off_t>(file_size_.value)) != 0) {
    throw write_failure(target_, "setting the size", errno);
  }
  current_ = tensors_.size();
  flushed_ = file_size_.value;
}

void Writer::finish() {
  if (current_ < tensors_.size()) {
    throw Error(ErrorCode::Internal,
                fmt::format("{}: {} of {} bytes of tensor {} were written", target_.string(), written_.value,
                            tensors_[current_].size.value, tensors_[current_].name));
  }
  flush();
  // Before the name: after a power failure there is the whole file, or none.
  if (::fsync(descriptor_) != 0) throw write_failure(target_, "writing to the disk", errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) throw write_failure(target_, "naming the file", errno);
  ::close(descriptor_);
  descriptor_ = -1;
}

void Writer::pad_to(Bytes offset) {
  // At most an alignment's worth, which is at most 1 MiB.
  const std::vector<std::byte> zeros(offset.value - position());
  put(zeros);
}

void Writer::put(std::span<const std::byte> data) {
  if (buffer_.size() + data.size() <= kBufferSize) {
    buffer_.insert(buffer_.end(), data.begin(), data.end());
    return;
  }
  flush();
  write(data);
}

void Writer::flush() {
  write(buffer_);
  buffer_.clear();
}

void Writer::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t taken = ::pwrite(descriptor_, data.data(), data.size(), static_cast<off_t>(flushed_));
    if (taken < 0 && errno == EINTR) continue;
    if (taken < 0) throw write_failure(target_, "writing", errno);
    flushed_ += static_cast<std::uint64_t>(taken);
    data = data.subspan(static_cast<std::size_t>(taken));
  }
}

}  // namespace loadline::gguf
