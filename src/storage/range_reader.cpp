#include "storage/range_reader.h"

#include <cassert>
#include <cerrno>
#include <exception>

#include "storage/page_cache.h"
#include "storage/read_errors.h"

namespace loadline::storage {
namespace {

std::size_t down_to_page(std::uint64_t value) { return value / kDirectAlignment.value * kDirectAlignment.value; }

}  // namespace

RangeReader::RangeReader(std::span<const File> files, std::span<const Range> ranges, std::span<std::byte> buffer,
                         std::unique_ptr<ReadQueue> queue)
    : files_(files),
      ranges_(ranges),
      buffer_(buffer),
      part_size_(down_to_page(buffer.size() / queue->depth())),
      parts_(queue->depth()),
      queue_(std::move(queue)) {
  for (std::uint32_t part = 0; part < parts_.size(); ++part) free_.push_back(part);
}

Bytes RangeReader::first_page(const Range& range) const { return Bytes(down_to_page(range.offset.value)); }

std::size_t RangeReader::needed(const Range& range) const {
  return (range.offset - first_page(range)).value + range.size;
}

// Reads what is missing of the part's range. After a read that brought less than was asked for, from the last whole
// page of it.
void RangeReader::submit(std::uint32_t part) {
  const Range& range = ranges_[parts_[part].range];
  const std::size_t begin = down_to_page(parts_[part].got);
  const std::size_t end = align_up(needed(range), kDirectAlignment.value);
  queue_->submit({range.file, first_page(range) + Bytes(begin), memory(part) + begin, end - begin, part});
  ++in_flight_;
}

std::optional<std::uint32_t> RangeReader::wait() {
  const Completion done = queue_->wait();
  --in_flight_;
  const auto index = static_cast<std::uint32_t>(done.tag);
  Part& part = parts_[index];
  const Range& range = ranges_[part.range];
  const std::size_t begin = down_to_page(part.got);
  const Bytes reached = first_page(range) + Bytes(part.got);
  if (done.result < 0 && done.result != -EINTR && done.result != -EAGAIN) {
    throw reading_failed(files_[range.file], reached, static_cast<int>(-done.result));
  }
  if (done.result >= 0) {
    const std::size_t got = begin + static_cast<std::size_t>(done.result);
    if (got <= part.got) throw ended_early(files_[range.file], reached);
    part.got = got;
  }
  if (part.got >= needed(range)) return index;
  submit(index);
  return std::nullopt;
}

std::optional<RangeReader::Arrived> RangeReader::next() {
  std::unique_lock lock(mutex_);
  while (true) {
    if (failure_) std::rethrow_exception(failure_);
    if (next_range_ < ranges_.size() && !free_.empty()) {
      const std::uint32_t part = free_.back();
      free_.pop_back();
      parts_[part] = {next_range_++, 0};
      const std::size_t index = parts_[part].range;
      const Range& range = ranges_[index];
      lock.unlock();
      const std::span<std::byte> data(memory(part), range.size);
      if (read_cached(files_[range.file], range.offset, data)) return Arrived{index, data, part};
      lock.lock();
      submit(part);
      continue;
    }
    // Parts that are neither free nor being read into are those of other threads, which are fewer.
    assert(in_flight_ > 0 || next_range_ == ranges_.size());
    if (in_flight_ == 0) return std::nullopt;
    try {
      // With the lock, which whoever else comes waits for just as well.
      if (const auto part = wait()) {
        const Range& range = ranges_[parts_[*part].range];
        return Arrived{
            parts_[*part].range, {memory(*part) + (range.offset - first_page(range)).value, range.size}, *part};
      }
    } catch (...) {
      failure_ = std::current_exception();
    }
  }
}

void RangeReader::give_back(const Arrived& arrived) {
  const std::lock_guard lock(mutex_);
  free_.push_back(arrived.part);
}

}  // namespace loadline::storage
