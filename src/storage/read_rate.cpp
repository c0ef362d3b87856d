#include "storage/read_rate.h"

#include <algorithm>

#include "base/clock.h"
#include "storage/page_cache.h"
#include "storage/read_queue.h"

namespace loadline::storage {
namespace {

constexpr std::size_t kProbesInFlight = 8;
constexpr Bytes kMostProbed = 16 * kMiB;
constexpr double kLongestProbe = 0.15;  // s

// Reads of `size` bytes each, as many as are in flight at once. Their bytes; nullopt where one failed.
std::optional<Bytes> read_once(ReadQueue& queue, const File& file, std::span<std::byte> buffer, std::size_t size,
                               std::uint64_t& place) {
  const std::size_t count = std::min(queue.depth(), buffer.size() / size);
  const std::uint64_t places = std::max<std::uint64_t>(1, file.size().value / size);
  for (std::size_t i = 0; i < count; ++i) {
    // All over the file, and none twice before all were there: what a disk has just read is in its own memory.
    place += 1 + places * 5 / 13;
    queue.submit({0, Bytes(place % places * size), buffer.data() + i * size, size, i});
  }
  Bytes read;
  bool failed = false;
  for (std::size_t i = 0; i < count; ++i) {
    const Completion completion = queue.wait();
    failed = failed || completion.result <= 0;
    if (completion.result > 0) read += Bytes(static_cast<std::uint64_t>(completion.result));
  }
  return failed ? std::nullopt : std::optional(read);
}

}  // namespace

Bytes cached_bytes(const File& file, Bytes offset, Bytes size) {
  return is_cached(file, offset, size.value) ? size : Bytes();
}

std::optional<double> read_rate(std::span<const File> files, std::span<std::byte> buffer) {
  const std::size_t largest = buffer.size() / kProbesInFlight / kDirectAlignment.value * kDirectAlignment.value;
  if (files.empty() || largest == 0 || files.front().size() < Bytes(largest)) return std::nullopt;
  const std::unique_ptr<ReadQueue> queue = open_queue(files.first(1), buffer, {.depth = kProbesInFlight});
  if (queue->name().find("direct") == std::string_view::npos) return std::nullopt;
  // From small reads to large ones: a slow disk is known after the first, and what a fast one, or a limit on a control
  // group, gives away in the beginning does not count.
  std::size_t size = std::min<std::size_t>(largest, 64 * 1024);
  std::uint64_t place = 0;
  Bytes all;
  double seconds = 0;
  double rate = 0;
  while (all < kMostProbed && seconds < kLongestProbe) {
    const double begin = steady_seconds();
    const std::optional<Bytes> read = read_once(*queue, files.front(), buffer, size, place);
    if (!read) return std::nullopt;
    const double took = std::max(1e-6, steady_seconds() - begin);
    rate = static_cast<double>(read->value) / took;
    all += *read;
    seconds += took;
    size = std::min(largest, 2 * size);
  }
  return rate;
}

}  // namespace loadline::storage
