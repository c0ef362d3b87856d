// Many positioned reads in flight at once, past the page cache where the file system allows it.
// It moves bytes and reports what happened; what a short or failed read means is the caller's affair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"

namespace loadline::storage {

// What direct reads ask of offsets, lengths and addresses. 4 KiB satisfies every file system and disk in use.
constexpr Bytes kDirectAlignment{4096};

struct Read {
  std::uint32_t file = 0;       // index into the files of the queue
  Bytes offset;                 // multiple of kDirectAlignment
  std::byte* target = nullptr;  // likewise, inside the queue's memory
  std::size_t length = 0;       // likewise; may reach past the end of the file by less than that
  std::uint64_t tag = 0;        // the caller's
};

struct Completion {
  std::uint64_t tag = 0;
  std::int64_t result = 0;  // bytes read, or a negative errno
};

// One thread submits and waits. Makes everything it needs when constructed and allocates nothing afterwards.
// On destruction it waits for the reads that are still in flight.
class ReadQueue {
 public:
  virtual ~ReadQueue() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;  // "io_uring, direct", "threads, cached", ...
  [[nodiscard]] virtual std::size_t depth() const = 0;      // most reads in flight
  // At most depth() may be in flight.
  virtual void submit(const Read& read) = 0;
  // The next read that ended, in any order. At least one must be in flight. Throws Error(DeviceFailure) where the
  // system cannot say what became of them.
  virtual Completion wait() = 0;
};

struct QueueOptions {
  std::size_t depth = 16;
  bool direct = true;  // try O_DIRECT; files that refuse it are read through the page cache
  bool uring = true;   // try io_uring; else threads
};

// `memory` is where all reads land (registered with the kernel where that works). The files must outlive the queue.
// Falls back silently to what the system allows: name() says what it became.
std::unique_ptr<ReadQueue> open_queue(std::span<const File> files, std::span<std::byte> memory,
                                      const QueueOptions& options);

}  // namespace loadline::storage
