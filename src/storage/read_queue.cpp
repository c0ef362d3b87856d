#include "storage/read_queue.h"

#include "storage/queues.h"

namespace loadline::storage {

std::unique_ptr<ReadQueue> open_queue(std::span<const File> files, std::span<std::byte> memory,
                                      const QueueOptions& options) {
  if (options.uring) {
    if (auto queue = open_uring_queue(Descriptors(files, options.direct), memory, options.depth)) return queue;
  }
  return open_thread_queue(Descriptors(files, options.direct), options.depth);
}

}  // namespace loadline::storage
