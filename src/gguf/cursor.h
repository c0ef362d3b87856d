// A cursor over a file's header: every read is checked against the file's size before anything is allocated for it.
// Internal to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace loadline::gguf {

// What is being read, for the message when the file ends within it: "metadata key 7 of 25".
struct Place {
  std::string_view what;
  std::uint64_t number = 0;  // counted from 1; 0 where there is only one
  std::uint64_t count = 0;
};

// Reads forward through `file`, which must outlive it. Not safe for several threads.
class Cursor {
 public:
  explicit Cursor(const File& file);

  void enter(Place place) { place_ = place; }

  [[nodiscard]] std::uint64_t position() const { return buffer_start_ + used_; }
  // Up to the end of the file, or of the largest header there may be.
  [[nodiscard]] std::uint64_t remaining() const { return end_ - position(); }

  // A number as stored, little-endian.
  template <typename T>
  T number() {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    bytes(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  // Fills `out`. Throws Error(BadInput) where the file ends before.
  void bytes(std::span<std::byte> out);

  // A length in 8 bytes, which that much text must follow; and so much text.
  std::uint64_t text_length() { return count(1, "characters"); }
  std::string text(std::uint64_t length);

  // Goes on behind so many bytes; or back to a position that was passed.
  void skip(std::uint64_t length);
  void go_back(std::uint64_t position);

  // A count in 8 bytes, of things that take at least `least` bytes each; throws where there cannot be so many.
  std::uint64_t count(std::uint64_t least, std::string_view things);

  // Throws unless `length` more bytes are there.
  void require(std::uint64_t length) const;

  // An Error(BadInput) that begins with the file's name.
  [[nodiscard]] Error refusal(std::string_view sentence, std::string hint) const;

 private:
  [[nodiscard]] std::string where() const;

  const File& file_;
  std::uint64_t end_;
  Place place_{"the header"};
  std::vector<std::byte> buffer_;
  std::uint64_t buffer_start_ = 0;  // the file's offset of buffer_[0]
  std::size_t filled_ = 0;
  std::size_t used_ = 0;
};

}  // namespace loadline::gguf
