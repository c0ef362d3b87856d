#include <fmt/format.h>
#include <liburing.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "storage/queues.h"

namespace loadline::storage {
namespace {

class UringQueue final : public ReadQueue {
 public:
  explicit UringQueue(Descriptors descriptors) : descriptors_(std::move(descriptors)) {}

  // False where the kernel has no io_uring, or a sandbox forbids it.
  bool open(std::span<std::byte> memory, std::size_t depth) {
    if (::io_uring_queue_init(static_cast<unsigned>(depth), &ring_, 0) != 0) return false;
    open_ = true;
    depth_ = depth;
    if (!works()) return false;
    const auto& files = descriptors_.all();
    if (::io_uring_register_files(&ring_, files.data(), static_cast<unsigned>(files.size())) != 0) return false;
    // Pinning may exceed the limit on locked memory; reads into ordinary memory then do the same with a little more
    // work.
    const iovec whole{memory.data(), memory.size()};
    registered_ = ::io_uring_register_buffers(&ring_, &whole, 1) == 0;
    return true;
  }

  ~UringQueue() override {
    try {
      while (in_flight_ > 0) wait();
    } catch (const Error&) {  // the system gives up what is in flight when the ring goes
    }
    if (open_) ::io_uring_queue_exit(&ring_);
  }

  [[nodiscard]] std::string_view name() const override {
    return descriptors_.direct() ? "io_uring, direct" : "io_uring, cached";
  }
  [[nodiscard]] std::size_t depth() const override { return depth_; }

  void submit(const Read& read) override {
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
    const auto length = static_cast<unsigned>(read.length);
    const auto file = static_cast<int>(read.file);
    if (registered_) {
      ::io_uring_prep_read_fixed(entry, file, read.target, length, read.offset.value, 0);
    } else {
      ::io_uring_prep_read(entry, file, read.target, length, read.offset.value);
    }
    entry->flags |= IOSQE_FIXED_FILE;
    entry->user_data = read.tag;
    ++in_flight_;
    ++unsubmitted_;
    flush();
  }

  Completion wait() override {
    io_uring_cqe* entry = nullptr;
    while (true) {
      flush();
      const int status = ::io_uring_wait_cqe(&ring_, &entry);
      if (status == 0) break;
      if (status != -EINTR && status != -EAGAIN) {
        throw Error(ErrorCode::DeviceFailure, fmt::format("waiting for the disk failed ({})", std::strerror(-status)));
      }
    }
    const Completion done{entry->user_data, entry->res};
    ::io_uring_cqe_seen(&ring_, entry);
    --in_flight_;
    return done;
  }

 private:
  // Some sandboxes let a program make a ring and then not use it.
  bool works() {
    ::io_uring_prep_nop(::io_uring_get_sqe(&ring_));
    io_uring_cqe* entry = nullptr;
    if (::io_uring_submit(&ring_) != 1 || ::io_uring_wait_cqe(&ring_, &entry) != 0) return false;
    ::io_uring_cqe_seen(&ring_, entry);
    return true;
  }

  void flush() {
    while (unsubmitted_ > 0) {
      const int taken = ::io_uring_submit(&ring_);
      if (taken <= 0) return;  // busy: tried again before waiting
      unsubmitted_ -= static_cast<std::size_t>(taken);
    }
  }

  Descriptors descriptors_;
  io_uring ring_{};
  bool open_ = false;
  bool registered_ = false;
  std::size_t depth_ = 0;
  std::size_t in_flight_ = 0;
  std::size_t unsubmitted_ = 0;
};

}  // namespace

std::unique_ptr<ReadQueue> open_uring_queue(Descriptors descriptors, std::span<std::byte> memory, std::size_t depth) {
  auto queue = std::make_unique<UringQueue>(std::move(descriptors));
  if (!queue->open(memory, depth)) return nullptr;
  return queue;
}

}  // namespace loadline::storage
