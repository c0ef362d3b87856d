// Brings a list of ranges of files into memory once, in any order, for several threads: many direct reads in flight,
// and what the page cache holds from there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "storage/read_queue.h"

namespace loadline::storage {

struct Range {
  std::uint32_t file = 0;  // index into the files
  Bytes offset;
  std::size_t size = 0;
};

// Thread-safe; allocates only when constructed. Files, ranges and the buffer must outlive it.
class RangeReader {
 public:
  // A range that is in memory, until its part of the buffer is given back.
  struct Arrived {
    std::size_t range = 0;  // index into the ranges
    std::span<std::byte> data;
    std::uint32_t part = 0;
  };

  // Bytes a part of the buffer needs for a range of `size`: direct reads begin and end on whole pages.
  static constexpr std::size_t part_size(std::size_t size) { return align_up(size, kDirectAlignment.value) + 4096; }

  // `buffer` begins on a page and is divided into as many parts as `queue`, which reads from the same files into it,
  // has reads in flight; each holds part_size of the largest range.
  RangeReader(std::span<const File> files, std::span<const Range> ranges, std::span<std::byte> buffer,
              std::unique_ptr<ReadQueue> queue);

  // The next range to come in; none once all were handed out. Blocks. A thread gives back what it got before it asks
  // again, and no more threads ask than there are parts.
  // Throws Error(DeviceFailure) where a file ends early or reading fails; other threads then get that too.
  std::optional<Arrived> next();
  void give_back(const Arrived& arrived);

 private:
  // What happens to a part of the buffer.
  struct Part {
    std::size_t range = 0;
    std::size_t got = 0;  // bytes from the page on which the range begins
  };

  [[nodiscard]] std::byte* memory(std::uint32_t part) const { return buffer_.data() + part * part_size_; }
  [[nodiscard]] Bytes first_page(const Range& range) const;
  // Bytes from the first page to the end of the range.
  [[nodiscard]] std::size_t needed(const Range& range) const;
  void submit(std::uint32_t part);
  // Takes one read that ended. The part that is complete with it, if one is.
  std::optional<std::uint32_t> wait();

  std::span<const File> files_;
  std::span<const Range> ranges_;
  std::span<std::byte> buffer_;
  std::size_t part_size_;
  std::vector<Part> parts_;

  std::mutex mutex_;
  std::vector<std::uint32_t> free_;  // parts
  std::size_t next_range_ = 0;
  std::size_t in_flight_ = 0;
  std::exception_ptr failure_;
  std::unique_ptr<ReadQueue> queue_;  // destroyed first: waits for what is in flight into the buffer
};

}  // namespace loadline::storage
