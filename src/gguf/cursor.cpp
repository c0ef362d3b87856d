#include "gguf/cursor.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/text.h"
#include "gguf/layout.h"

namespace loadline::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they are stored");

// Large enough that a vocabulary's header takes few reads, small enough to stay in the second-level cache.
constexpr std::uint64_t kBufferSize = 128 * 1024;

}  // namespace

Cursor::Cursor(const File& file)
    : file_(file), end_(std::min(file.size(), kMaxHeaderSize).value), buffer_(std::min(kBufferSize, end_)) {}

void Cursor::bytes(std::span<std::byte> out) {
  require(out.size());
  while (!out.empty()) {
    if (used_ == filled_) {
      const std::uint64_t start = position();
      if (out.size() >= buffer_.size()) {  // a large array: straight into its place
        file_.read_at(Bytes(start), out);
        buffer_start_ = start + out.size();
        used_ = filled_ = 0;
        return;
      }
      const std::uint64_t length = std::min<std::uint64_t>(buffer_.size(), end_ - start);
      file_.read_at(Bytes(start), std::span(buffer_).first(length));
      buffer_start_ = start;
      used_ = 0;
      filled_ = length;
    }
    const std::size_t part = std::min(out.size(), filled_ - used_);
    std::memcpy(out.data(), buffer_.data() + used_, part);
    used_ += part;
    out = out.subspan(part);
  }
}

void Cursor::skip(std::uint64_t length) {
  require(length);
  if (length <= filled_ - used_) {
    used_ += length;
    return;
  }
  buffer_start_ = position() + length;
  used_ = filled_ = 0;
}

void Cursor::go_back(std::uint64_t position) {
  if (position >= buffer_start_) {
    used_ = position - buffer_start_;
    return;
  }
  buffer_start_ = position;
  used_ = filled_ = 0;
}

std::string Cursor::text(std::uint64_t length) {
  std::string value(length, '\0');
  bytes(std::as_writable_bytes(std::span(value)));
  return value;
}

std::uint64_t Cursor::count(std::uint64_t least, std::string_view things) {
  const auto value = number<std::uint64_t>();
  if (value > remaining() / least) {
    throw refusal(fmt::format("{} says that {} {} follow byte {}, more than the file can hold", where(), grouped(value),
                              things, grouped(position())),
                  "The file is incomplete or damaged; fetch it again.");
  }
  return value;
}

void Cursor::require(std::uint64_t length) const {
  if (length <= remaining()) return;
  if (end_ < file_.size().value && length <= file_.size().value - position()) {
    throw refusal(fmt::format("{} lies beyond the first {}, which is more than a header takes", where(),
                              to_string(kMaxHeaderSize)),
                  kDamagedHint);
  }
  throw refusal(fmt::format("ends at byte {}, within {}", grouped(file_.size().value), where()), kIncompleteHint);
}

std::string Cursor::where() const {
  if (place_.number == 0) return std::string(place_.what);
  return fmt::format("{} {} of {}", place_.what, grouped(place_.number), grouped(place_.count));
}

Error Cursor::refusal(std::string_view sentence, std::string hint) const {
  return bad_input(fmt::format("{}: {}", file_.path().string(), sentence), std::move(hint));
}

}  // namespace loadline::gguf
