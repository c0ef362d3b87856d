// The two ways a queue is made. Private to the module; the outside uses open_queue.
#pragma once

#include "storage/descriptors.h"
#include "storage/read_queue.h"

namespace loadline::storage {

// Null where the system refuses io_uring.
std::unique_ptr<ReadQueue> open_uring_queue(Descriptors descriptors, std::span<std::byte> memory, std::size_t depth);

// Works everywhere: a few threads that each do one ordinary read at a time.
std::unique_ptr<ReadQueue> open_thread_queue(Descriptors descriptors, std::size_t depth);

}  // namespace loadline::storage
